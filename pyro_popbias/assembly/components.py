"""From the sections of a study to the parts of a model: each section's class has one function here."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import singledispatch
from threading import RLock
from typing import Any

import numpy as np
import pandas as pd
import pyro
import torch
from torch import Tensor

from pyro_popbias.assembly.compatibility import (
    SATURATIONS,
    _check_saturation,
    check_fit,
    check_memory,
)
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.features import Features
from pyro_popbias.data.frames import as_frame
from pyro_popbias.data.ids import as_text
from pyro_popbias.data.table_files import read_table
from pyro_popbias.errors import DataError
from pyro_popbias.guides import GUIDES, AffinityGuide, CellStatistics, JointGuide
from pyro_popbias.models import (
    MODELS,
    PRIORS,
    Affinity,
    BayesianEmbeddingAffinity,
    EmbeddingAffinity,
    FactorizationAffinity,
    FixedScoreAffinity,
    FixedVectorAffinity,
    ItemPrior,
    LikelihoodOptions,
    LinearAffinity,
    PopularityModel,
    PopularityPrior,
    Saturation,
)
from pyro_popbias.models.priors.prior import START_CONCENTRATION, ConcentratedPrior
from pyro_popbias.study import sections
from pyro_popbias.study.study import Study

_ONE_THREAD = RLock()


@contextmanager
def local_parameters() -> Iterator[None]:
    """Let modules keep their parameters to themselves meanwhile, without Pyro's global store.

    Modules must be made and trained in it, so that two fits live in one process. Pyro's settings and torch's default
    random generator belong to the whole process: while one thread is in here, another one that builds, trains or loads a
    pair waits, so that fits in several threads equal those that are run one after the other.
    """
    with _ONE_THREAD, pyro.settings.context(module_local_params=True):
        yield


@singledispatch
def build_affinity(section: Any, catalogue: Catalogue, generator: torch.Generator) -> Affinity:
    """Return the affinity that a section declares, sized for a catalogue."""
    raise TypeError(type(section))


@build_affinity.register
def _embedding(section: sections.EmbeddingAffinityConfig, catalogue: Catalogue, generator: torch.Generator) -> Affinity:
    users, items = len(catalogue.users), len(catalogue.items)
    scale = None if isinstance(section.scale, str) else section.scale
    if section.posterior == "mean-field" or scale is None:
        return BayesianEmbeddingAffinity(users, items, dim=section.dim, scale=scale)
    return EmbeddingAffinity(users, items, dim=section.dim, scale=scale, generator=generator)


@build_affinity.register
def _linear(section: sections.LinearAffinityConfig, catalogue: Catalogue, generator: torch.Generator) -> Affinity:
    features = _features(catalogue)
    if not features:
        raise DataError(
            "PB-D109: a linear affinity needs features of users or items; pass user_features= or item_features= with the "
            "interactions, or name their files in [data]"
        )
    return LinearAffinity(features, items=len(catalogue.items))


@build_affinity.register
def _factorization(
    section: sections.FactorizationAffinityConfig, catalogue: Catalogue, generator: torch.Generator
) -> Affinity:
    return FactorizationAffinity(
        len(catalogue.users),
        len(catalogue.items),
        _features(catalogue),
        dim=section.dim,
        scale=section.scale,
        generator=generator,
    )


def _features(catalogue: Catalogue) -> dict[str, Features]:
    given = {"user": catalogue.user_features, "item": catalogue.item_features}
    return {side: features for side, features in given.items() if features is not None}


@build_affinity.register
def _fixed(section: sections.FixedAffinityConfig, catalogue: Catalogue, generator: torch.Generator) -> Affinity:
    if section.score is not None:
        return FixedScoreAffinity()
    user_vectors = _vectors(section.user_vectors, catalogue.users, "user")
    item_vectors = _vectors(section.item_vectors, catalogue.items, "item")
    if user_vectors.shape[1] != item_vectors.shape[1]:
        raise DataError(
            f"PB-D103: user vectors have {user_vectors.shape[1]} coordinates, item vectors {item_vectors.shape[1]}"
        )
    return FixedVectorAffinity(user_vectors, item_vectors)


def _vectors(given: Any, ids: "pd.Index[str]", kind: str) -> Tensor:
    """Return the vectors `(len(ids), d)` of some ids, from a frame or file whose first column is the id."""
    where = f"{kind}_vectors"
    frame = read_table(given, first_text=True) if isinstance(given, str) else as_frame(given)
    words = [str(name) for name in frame.columns[1:] if not pd.api.types.is_numeric_dtype(frame[name].dtype)]
    if words or frame.shape[1] < 2:
        raise DataError(
            f"PB-D105: {where} needs an id column, then numbers; not numeric: {', '.join(words) or 'nothing follows'}"
        )
    names = as_text(frame.iloc[:, 0], f"{where}.{frame.columns[0]}")
    if names.duplicated().any():
        raise DataError(f"PB-D050: {where} has {names.duplicated().sum()} ids twice; keep one row an id")
    values = frame.iloc[:, 1:].to_numpy(dtype="float32")
    position = pd.Index(names).get_indexer(ids)
    missing = ids[position < 0]
    if len(missing):
        raise DataError(f"PB-D104: {where} lacks {len(missing)} {kind}s of the data, first {', '.join(missing[:5])}")
    vectors = values[position]
    if not np.isfinite(vectors).all():
        raise DataError(f"PB-D105: {where} has {(~np.isfinite(vectors)).sum()} values that are missing or not finite")
    return torch.from_numpy(vectors)


def build_prior(section: Any, cells: int) -> PopularityPrior:
    """Return the prior that a section declares; numbers that counts give are some, to be loaded into.

    Args:
        section: the study's.
        cells: C, the number of cells.
    """
    family = PRIORS[section.name]
    if section.source in sections.ITEM_SOURCES:
        return ItemPrior.unset(family, cells)
    if not issubclass(family, ConcentratedPrior):
        return family()
    return family(START_CONCENTRATION if section.source == "population" else section.concentration)


def build_saturation(section: Any) -> tuple[Saturation, bool]:
    """Return the saturation that a section declares, and whether its parameter is learned."""
    cls = SATURATIONS[type(section)]
    parameter = getattr(section, cls.parameter_name)
    learned = parameter == "learned"
    return cls(1.0 if learned else parameter), learned


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
    options = LikelihoodOptions(*build_saturation(study.model.saturation), study.model.slope)
    _check_saturation(study, options.saturation)
    check_fit(study.model.name, study.model.prior.name, study.guide.name)
    check_memory(study.guide.name, len(cells), study.model.latent, study.training.particles)
    with local_parameters():
        affinity = build_affinity(study.model.affinity, catalogue, generator)
        prior = build_prior(study.model.prior, len(cells)) if prior is None else prior
        model = MODELS[study.model.name].assemble(affinity, prior, options)
        popularity = GUIDES[study.guide.name].build(model.prior.all_distributions(), cells)
        latents = affinity.latents(generator)
        return model, JointGuide(popularity, AffinityGuide(latents) if latents else None)
