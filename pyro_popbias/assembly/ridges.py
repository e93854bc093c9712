"""Studies in which two numbers are learned and the data know one: each is told in words, and the priors alone decide.

A ridge is a line of parameters along which the likelihood stays the same. The gauge of priors, E[z] = 1 or Normal(0, 1), takes
out those of the scale of popularity by itself. It fixes the mean of z and not its spread: where z enters by its logarithm, or
by the logit, a learned slope is one number with a learned spread, exactly so for a LogNormal prior and nearly for others. All
that is learned has a proper prior, so that these studies are warned of and not refused.
"""

import warnings
from collections.abc import Callable, Iterator

import numpy as np

from pyro_popbias.assembly.identification import identifies_quality
from pyro_popbias.data.features import Features
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import DataWarning
from pyro_popbias.models import MODELS, PRIORS, SATURATIONS, ConcentratedPrior
from pyro_popbias.models.affinities.factorization import FactorizationAffinityConfig
from pyro_popbias.models.affinities.linear import LinearAffinityConfig
from pyro_popbias.models.saturations.power import PowerSaturationConfig
from pyro_popbias.study.study import Study

# share of label 1, below which g is as good as linear in z. With 500 items of 40 rows and a concentration of 2 that is learned
# too, the log of a rate of 1 has a standard deviation of .3 at a share of .15, of .65 at .07, 1.2 at .04 and 2.3 at .026: from
# there on the prior, of 1, says more than the labels
RARE = 0.05
SHOWN = 5
LARGEST_DESIGN = 20_000_000  # numbers of a dense matrix of items and features


def warn_of_ridges(study: Study, events: Interactions) -> None:
    """Warn of every two numbers of a study that the data hardly tell apart.

    Args:
        study: with all its defaults.
        events: the interactions.

    Warns:
        DataWarning: what is learned twice, why the data do not tell which is which, and what to do.
    """
    for ridge in RIDGES:
        for sentence in ridge(study, events):
            warnings.warn(sentence, DataWarning, stacklevel=5)


def _learns_spread(study: Study) -> bool:
    """Return whether the concentration of the prior is learned."""
    prior = study.model.prior
    return prior.source == "learned" and issubclass(PRIORS[prior.name], ConcentratedPrior)


def _learned_parameter(study: Study) -> str:
    """Return the name of the saturation's parameter, where the model has one and it is learned; else nothing."""
    saturation = study.model.saturation
    name = SATURATIONS[saturation.name].parameter_name
    has_one = MODELS[study.model.name].default_saturation is not None
    return name if has_one and getattr(saturation, name) == "learned" else ""


def _exponent(study: Study, events: Interactions) -> Iterator[str]:
    """Tell of z^exponent and the spread of z: only exponent x s is known under LogNormal(-s^2/2, s), but for a level."""
    if (
        _learns_spread(study)
        and isinstance(study.model.saturation, PowerSaturationConfig)
        and _learned_parameter(study)
    ):
        yield (
            "PB-C102: the exponent of z^exponent and the concentration of the prior are both learned, and the data hardly "
            "tell a larger exponent from a wider prior; give the exponent a number, or the prior source = 'fixed' and a "
            "concentration"
        )


def _rare_clicks(study: Study, events: Interactions) -> Iterator[str]:
    """Tell of a bounded g whose bound no label sees: sigma(b0 + x) g(rate z) is about e^(b0 + x) rate z."""
    parameter, share = _learned_parameter(study), _share_of_positives(study, events)
    if parameter and SATURATIONS[study.model.saturation.name].bounded and _learns_spread(study) and share < RARE:
        yield (
            f"PB-C460: the {parameter} of the saturation and the concentration of the prior are both learned, and {share:.1%} of "
            "the labels are 1: where clicks are rare, g(z) is nearly a straight line, whose slope is one number with the "
            f"intercept; give {parameter} a number, or the prior source = 'fixed' and a concentration"
        )


def _share_of_positives(study: Study, events: Interactions) -> float:
    """Return the share of label 1, sampled negatives included."""
    if study.data.negatives or events.label is None:
        return 1 / (1 + (study.data.negatives or 0))
    return float(events.catalogue.positives.sum() / len(events))


def _conformity(study: Study, events: Interactions) -> Iterator[str]:
    """Tell of slopes of users and the spread of t(z): (gamma + d_u) t(z) with t k times as wide and slopes a k-th is the same."""
    if study.model.conformity and _learns_spread(study):
        remedy = ", or use the prior normal" if MODELS[study.model.name].free_slope else ""
        yield (
            "PB-C461: the slopes of popularity of conformity = true and the concentration of the prior are both learned, and the "
            "data hardly tell larger slopes from a wider prior: only the scale of slopes relative to their mean is known well; "
            f"give the prior source = 'fixed' and a concentration{remedy}"
        )


def _constant_features(study: Study, events: Interactions) -> Iterator[str]:
    """Tell of columns that are the same for all: their weight moves every affinity as b0 does."""
    if not isinstance(study.model.affinity, LinearAffinityConfig | FactorizationAffinityConfig):
        return
    for side, features in (("user", events.catalogue.user_features), ("item", events.catalogue.item_features)):
        names = [] if features is None else _same_for_all(features)
        if names:
            yield (
                f"PB-C462: {len(names)} features of {side}_features are the same for all {side}s: "
                f"{', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}. Their weights are one number with the "
                "intercept; drop these columns"
            )


def _number_for_each_item(study: Study, events: Interactions) -> Iterator[str]:
    """Tell of weights that can give every item a number of its own, as many columns or levels do in a small catalogue."""
    features = events.catalogue.item_features
    weighted = isinstance(study.model.affinity, LinearAffinityConfig | FactorizationAffinityConfig)
    if features is None or not weighted or identifies_quality(study):
        return
    items, number = len(features), len(features.names)
    if number + 1 < items or items * number > LARGEST_DESIGN:  # + 1 for the intercept
        return
    design = np.zeros((items, number + 1))
    np.add.at(design, (np.arange(items)[:, None], features.index), features.value)
    design[:, -1] = 1.0
    if np.linalg.matrix_rank(design) == items:
        yield (
            f"PB-C463: the weights of {number} features can give each of the {items} items a number of its own, and popularity "
            "is one too: labels tell only what they come to together. Drop columns of item_features or group their levels, or "
            "let counts say how popular items are (an exposure, with labelled data)"
        )


def _same_for_all(features: Features) -> list[str]:
    """Return the names of features that all rows have, with one value other than 0."""
    same = (features.index == features.index[:1]).all(0) & (features.value == features.value[:1]).all(0)
    return [features.names[place] for place in features.index[0, same & (features.value[0] != 0)]]


RIDGES: tuple[Callable[[Study, Interactions], Iterator[str]], ...] = (
    _exponent,
    _rare_clicks,
    _conformity,
    _constant_features,
    _number_for_each_item,
)
