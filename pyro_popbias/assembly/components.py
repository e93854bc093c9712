"""From a study to the modules of a pair: each part's class builds itself from its section."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyro
import torch
from torch.distributions import constraints

from pyro_popbias.assembly.compatibility import check_fit, check_memory, check_saturation
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.distributions.random_state import ONE_THREAD
from pyro_popbias.guides import GUIDES, AffinityGuide, CellStatistics, JointGuide
from pyro_popbias.models import (
    AFFINITIES,
    EXPOSURES,
    MODELS,
    PRIORS,
    SATURATIONS,
    Conformity,
    Exposure,
    ItemPrior,
    LikelihoodOptions,
    PopularityModel,
    PopularityPrior,
    PriorConfig,
    RandomWalkPrior,
    scalars,
)
from pyro_popbias.models.priors.config import ITEM_SOURCES, WALK
from pyro_popbias.study.sections import ModelConfig
from pyro_popbias.study.study import Study


@contextmanager
def local_parameters() -> Iterator[None]:
    """Let modules keep their parameters to themselves meanwhile, without Pyro's global store.

    Modules must be made and trained in it, so that two fits live in one process. Pyro's settings and torch's default
    generators belong to the whole process: while one thread is in here, another one that builds, trains, checks or loads
    a pair waits, so that the results of several threads equal those of one. Draws that other code takes from torch's
    default generator meanwhile would still change a training.
    """
    with ONE_THREAD, pyro.settings.context(module_local_params=True):
        yield


def build_prior(config: PriorConfig, cells: int, periods: int = 1) -> PopularityPrior:
    """Return the prior that a section declares; numbers that come from counts are placeholders, to be loaded later.

    Args:
        config: the study's.
        cells: C, the number of cells.
        periods: T.
    """
    family = PRIORS[config.name]
    if config.source in ITEM_SOURCES:
        return ItemPrior.unset(family, cells)
    prior = family.from_config(config)
    return RandomWalkPrior(prior, cells, periods) if config.drift == WALK else prior


def build_exposure(declared: ModelConfig, cells: CellStatistics) -> Exposure | None:
    """Return the exposure part of a model, with the counts of the training rows; None where none is declared.

    Args:
        declared: the section of the model.
        cells: what is known of the training rows; without any, counts are placeholders, to be loaded later.
    """
    if isinstance(declared.exposure, str):
        return None
    real = PRIORS[declared.prior.name].support is constraints.real
    count = torch.from_numpy(np.asarray(cells.rows, dtype=np.float64))
    exposure = EXPOSURES[declared.exposure.name]
    free_level = declared.prior.source in ITEM_SOURCES  # whose population has a mean of its own
    return exposure.from_config(declared.exposure, count, cells.periods, real=real, free_level=free_level)


def build(
    study: Study, catalogue: Catalogue, cells: CellStatistics, prior: PopularityPrior | None = None
) -> tuple[PopularityModel, JointGuide]:
    """Return the model and the guide of a study, at their start.

    Args:
        study: what was declared.
        catalogue: ids and features.
        cells: what guides may know of the training rows.
        prior: the distribution of popularity; left out, it is made for a state that is loaded.

    Raises:
        IncompatibleError: the prior's support does not lie inside the model's, the guide's is not the prior's, or the
            model takes no such saturation; names what fits.
        DataError: given vectors do not fit the catalogue, or features are missing.
    """
    generator = torch.Generator().manual_seed(study.training.seed)
    declared = study.model
    check_saturation(declared.name, declared.saturation.name)
    check_fit(declared.name, declared.prior, study.guide.name)
    saturation = SATURATIONS[declared.saturation.name].from_config(declared.saturation)
    options = LikelihoodOptions(*saturation, declared.slope, declared.conformity)
    check_memory(study.guide.name, len(cells), declared.latent, study.training.particles)
    with local_parameters():
        affinity = AFFINITIES[declared.affinity.name].from_config(declared.affinity, catalogue, generator)
        prior = build_prior(declared.prior, len(cells), cells.periods) if prior is None else prior
        model = MODELS[declared.name].assemble(affinity, prior, options)
        model.exposure = build_exposure(declared, cells)
        if model.exposure is not None and affinity.item_quality is not None:
            affinity.item_quality.take_counts(model.exposure.count.reshape(-1, cells.periods).sum(1))
        popularity = GUIDES[study.guide.name].build(model.prior.starts(), cells)
        users, items = len(catalogue.users), len(catalogue.items)
        model.conformity = Conformity(users) if declared.conformity else None
        latents = affinity.latents(generator) | ({} if model.conformity is None else model.conformity.latents())
        weights = AffinityGuide(latents) if latents else None
        sizes = {"cells": len(cells), "users": users, "items": items}
        return model, JointGuide(popularity, weights, **sizes, scalars=list(scalars(model)))
