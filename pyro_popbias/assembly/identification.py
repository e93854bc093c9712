"""What tells an item's popularity from its quality: counts of exposure, or a prior from other counts; labels do not.

An item's quality b_i and its popularity z_i lie on a ridge: labels fix x + log z (or its like), and hardly what is whose.
Without a quality z_i is the item's like rate, and an intervention on z takes quality out together with popularity.
"""

import warnings

from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import ConfigError, DataWarning, IncompatibleError
from pyro_popbias.models import MODELS
from pyro_popbias.study.sections import FixedAffinityConfig
from pyro_popbias.study.study import Study

OVERDISPERSED = 0.1  # squared coefficient of variation of exposure, beyond Poisson's, from which counts say something
EXPOSURE_REMEDY = (
    'add exposure = "negative-binomial" to [model] and item_quality = true to its affinity, so that counts of rows say how '
    "popular an item is and labels how good"
)
COUNTS_REMEDY = "where items were shown at random, counts of other rows can be the prior's: source = 'counts'"
REMEDY = f"{EXPOSURE_REMEDY}; {COUNTS_REMEDY}"


def identifies_quality(study: Study) -> bool:
    """Return whether something besides the labels says how popular items are, in a study with its defaults."""
    model = study.model
    return not isinstance(model.exposure, str) or _has_counts(study)


def _has_counts(study: Study) -> bool:
    """Return whether the prior of each item follows counts of other rows; by their share it hardly does."""
    prior = study.model.prior
    return prior.counts is not None and prior.source in ("counts", "log-share")


def why_unidentified(study: Study) -> str:
    """Return why z of a fitted study is no popularity but the like rate of items; empty where it is not so.

    Args:
        study: with its defaults.
    """
    given = isinstance(study.model.affinity, FixedAffinityConfig)  # with the quality of items in it
    if study.data.negatives or given or identifies_quality(study):
        return ""
    return (
        "nothing tells the popularity of an item from its quality: z is the item's like rate, and P(c=1 | do(u,i)) loses what "
        "makes an item good"
    )


def warning_of(study: Study) -> str:
    """Return why z of a fitted study is the like rate of items, and the remedy, in one sentence; empty where it is not so.

    Args:
        study: with its defaults.
    """
    reason = why_unidentified(study)
    return reason and f"{reason}; {REMEDY}"


def with_exposure(study: Study, events: Interactions) -> Study:
    """Return the study with its exposure part, and the quality of items that goes with it, where they are left to the data.

    Args:
        study: with the number of negatives that the data ask for.
        events: the interactions.

    Raises:
        IncompatibleError: an exposure part, or a quality, is declared and does not go with the rest.
        ConfigError: a quality is declared, and nothing identifies it.

    Warns:
        DataWarning: nothing tells popularity from quality.
    """
    if study.model.exposure == "auto":
        study = study.replace("model", exposure=_exposure_of(study, events))
    if not isinstance(study.model.exposure, str):
        _check_exposure(study)
    study = _with_quality(study)
    if sentence := warning_of(study):
        warnings.warn(f"PB-C402: {sentence}", DataWarning, stacklevel=6)
    return study


def _exposure_of(study: Study, events: Interactions) -> str:
    """Return the exposure part that goes with the data: none where counts or the model have no use for one."""
    model = study.model
    usable = (
        not study.data.negatives
        and model.latent == "item"
        and not _has_counts(study)
        and (getattr(model.affinity, "item_quality", False) or _leaves_quality_open(study))
    )
    return "negative-binomial" if usable and excess_variation(events) >= OVERDISPERSED else "none"


def _leaves_quality_open(study: Study) -> bool:
    """Return whether items may have a quality, and the study does not say whether they do."""
    affinity = study.model.affinity
    return "item_quality" in type(affinity).model_fields and "item_quality" not in affinity.model_fields_set


def excess_variation(events: Interactions) -> float:
    """Return the squared coefficient of variation of how often items are logged, beyond what Poisson's has; 0 for one item."""
    count = events.catalogue.count.reshape(-1, events.periods).sum(1).astype(float)
    count = count[count > 0]
    if len(count) < 2:
        return 0.0
    return float((count.var(ddof=1) - count.mean()) / count.mean() ** 2)


def _check_exposure(study: Study) -> None:
    """Refuse an exposure part where counts are the likelihood already, or belong to no cell."""
    name = study.model.exposure.name  # type: ignore[union-attr]  # the caller has looked
    if MODELS[study.model.name].pairwise or study.model.latent == "interaction":
        raise IncompatibleError(
            f"PB-C400: exposure = {name!r} reads counts of an item's one popularity; it goes with latent = 'item', and with "
            "models of single rows"
        )
    if study.data.negatives:
        raise IncompatibleError(
            f"PB-C400: exposure = {name!r} reads how often items are logged, and these data hold positives only: there the "
            "counts are the likelihood already; leave it out, or give a label column that has both classes"
        )


def _with_quality(study: Study) -> Study:
    """Return the study with a quality of items where an exposure part is, unless the study says no; refuse one without."""
    affinity = study.model.affinity
    if getattr(affinity, "item_quality", False):
        if not identifies_quality(study):
            raise ConfigError(
                "PB-C401: item_quality = true, but nothing tells an item's quality b_i from its popularity z_i: labels are the "
                'same along the ridge on which one grows and the other falls. Add exposure = "negative-binomial" to [model], '
                "or a prior from counts of other rows (source = 'counts'), or leave item_quality out"
            )
        return study
    if isinstance(study.model.exposure, str) or not _leaves_quality_open(study):
        return study
    return study.replace("model", affinity=affinity.model_copy(update={"item_quality": True}))
