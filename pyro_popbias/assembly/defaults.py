"""The defaults of a study that depend on the model and on the data."""

import warnings

from pyro_popbias.assembly.compatibility import check_given
from pyro_popbias.assembly.identification import with_exposure
from pyro_popbias.assembly.ridges import warn_of_ridges
from pyro_popbias.assembly.smallest_data import warn_of_one
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import ConfigError, DataError, DataWarning, IncompatibleError
from pyro_popbias.guides import GUIDES, MarkovGuide
from pyro_popbias.models import MODELS, SATURATIONS, PopularityModel
from pyro_popbias.models.priors.config import WALK
from pyro_popbias.study.study import Study

STEPS = 880  # of phase one that learned scales need to settle
SMALLEST_BATCH = 256


def with_defaults(study: Study, events: Interactions) -> Study:
    """Return the study with the defaults that depend on the model and on whether the data have labels.

    Raises:
        DataError: the data hold one class only, and no negatives are drawn.
        ConfigError: negatives do not go with the data or the model.
        IncompatibleError: the model has one popularity per item only, or does not take an option that is given.
    """
    check_given(study)
    model = MODELS[study.model.name]
    study = study.replace("data", negatives=_negatives(study, events, pairwise=model.pairwise))
    _check_sampling(study, model)
    if study.model.latent == "interaction" and not model.per_interaction:
        names = [name for name, cls in MODELS.items() if cls.per_interaction]
        raise IncompatibleError(
            f"PB-C086: model {study.model.name!r} has one popularity per item; latent = 'interaction' goes with "
            f"{', '.join(names)}"
        )
    study = _with_guide_of_walk(study)
    _check_walk(study, events)
    _warn_of_independent_periods(study)
    if model.default_saturation is not None and "saturation" not in study.model.model_fields_set:
        study = study.replace("model", saturation={"name": SATURATIONS.name_of(model.default_saturation)})
    study = _enough_steps(with_exposure(_without_biases(study), events), events)
    warn_of_ridges(study, events)
    warn_of_one(events)
    return study


def _check_sampling(study: Study, model: type[PopularityModel]) -> None:
    """Refuse negatives drawn by popularity where there are none, or where the model cannot take the draw out again."""
    if study.data.negative_sampling == "uniform":
        return
    if not study.data.negatives:
        raise ConfigError(
            "PB-C380: negative_sampling = 'popularity', but the data have labels of their own and no negatives are drawn; leave "
            "it out"
        )
    if not model.has_logit_link:
        names = [name for name, cls in MODELS.items() if cls.has_logit_link]
        raise IncompatibleError(
            f"PB-C380: model {study.model.name!r} has no log odds that a draw by popularity would only move; negative_sampling = "
            f"'popularity' goes with {', '.join(names)}"
        )


def _with_guide_of_walk(study: Study) -> Study:
    """Return the study with the guide of a walk where popularity walks and no guide is named.

    A q without correlation between periods takes the noise of each for steps: it doubles the step that it learns.
    """
    if study.model.prior.drift != WALK or "name" in study.guide.model_fields_set:
        return study
    return study.replace("guide", name=GUIDES.name_of(MarkovGuide))


def _warn_of_independent_periods(study: Study) -> None:
    """Warn where a guide without correlation between periods is named for a walk."""
    guide = GUIDES[study.guide.name]
    if study.model.prior.drift == WALK and not (guide.joins_periods or guide.draws_all_cells):
        message = (
            f"PB-C443: guide {study.guide.name!r} takes the periods of an item as independent, and learns a step of the walk "
            'that is too large, by up to a factor of four; use guide = "markov", or leave the guide\'s name out'
        )
        warnings.warn(message, DataWarning, stacklevel=5)


def _check_walk(study: Study, events: Interactions) -> None:
    """Refuse a popularity that moves from period to period where there is one period, or where rows have their own."""
    walks = study.model.prior.drift == WALK
    if walks and events.periods == 1:
        raise ConfigError(
            f"PB-C441: [model.prior] drift = {WALK!r} needs two periods or more, and the data have one; give time and periods in "
            "[data] (time= and periods= of from_frame), or leave drift out"
        )
    if study.model.latent == "interaction" and (
        walks or (GUIDES[study.guide.name].joins_periods and events.periods > 1)
    ):
        what = f"drift = {WALK!r}" if walks else f"guide {study.guide.name!r}"
        raise IncompatibleError(
            f"PB-C442: {what} joins the periods of an item, and latent = 'interaction' gives every row a popularity of its own; "
            "use latent = 'item'"
        )


def _without_biases(study: Study) -> Study:
    """Return the study without user biases where negatives are drawn: m per positive, they give all users one rate."""
    affinity = study.model.affinity
    declared = "user_bias" in affinity.model_fields_set or "user_bias" not in type(affinity).model_fields
    if declared or not study.data.negatives:
        return study
    return study.replace("model", affinity=affinity.model_copy(update={"user_bias": False}))


def _enough_steps(study: Study, events: Interactions) -> Study:
    """Return the study with batches so small that scales of vectors settle, where they are learned from few rows."""
    training = study.training
    if not study.model.affinity.learns_scales or "batch_size" in training.model_fields_set:
        return study
    rows = len(events) * (1 + (study.data.negatives or 0))
    size = max(SMALLEST_BATCH, rows * training.epochs // STEPS)
    return study.replace("training", batch_size=size) if size < min(rows, training.batch_size) else study


def _negatives(study: Study, events: Interactions, *, pairwise: bool) -> int:
    """Return the number of negatives that are drawn for each positive."""
    given, label = study.data.negatives, events.label
    positive = int(events.catalogue.positives.sum())  # labels may be on disk
    if label is not None and not positive:
        raise DataError(f"PB-D063: the data have label 0 in all {len(events)} rows; popularity would go to 0")
    if pairwise:
        if given == 0:
            raise ConfigError(
                f"PB-C018: model {study.model.name!r} compares positives with negatives; negatives must be 1 or more"
            )
        return given or 1
    if label is None and given != 0:
        return given or 4
    if label is None or positive == len(events):
        what = "no labels" if label is None else f"label 1 in all {len(events)} rows"
        raise DataError(
            f"PB-D062: the data have {what}, positives only; this likelihood would send every probability to 1. Leave the "
            "label and [data] negatives out, so that negatives are drawn, or give a label column that has both classes"
        )
    if given:
        raise ConfigError(
            f"PB-C018: negatives = {given}, but the data have labels of their own; set negatives = 0, or leave the label out"
        )
    return 0
