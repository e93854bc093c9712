"""From the sections of a study to the parts of a model: each section's class has one function here."""

from contextlib import AbstractContextManager
from functools import singledispatch
from typing import Any

import numpy as np
import pandas as pd
import pyro
import torch
from torch import Tensor

from pyro_popbias import sections
from pyro_popbias.errors import DataError, IncompatibleError
from pyro_popbias.guides import GUIDES, PopularityGuide, same_support
from pyro_popbias.ids import as_text
from pyro_popbias.interactions import Catalogue, as_frame
from pyro_popbias.models import (
    MODELS,
    Affinity,
    EmbeddingAffinity,
    ExponentialSaturation,
    FixedScoreAffinity,
    FixedVectorAffinity,
    GammaPrior,
    HillSaturation,
    Options,
    PopularityModel,
    PopularityPrior,
    Saturation,
    TanhSaturation,
)
from pyro_popbias.reading import read_table
from pyro_popbias.study import Study


def local_parameters() -> AbstractContextManager[None]:
    """Return a context in which modules keep their parameters to themselves, without Pyro's global store.

    Modules must be made and run in it, so that two fits live in one process.
    """
    context: AbstractContextManager[None] = pyro.settings.context(module_local_params=True)
    return context


@singledispatch
def build_affinity(section: Any, catalogue: Catalogue, generator: torch.Generator) -> Affinity:
    """Return the affinity that a section declares, sized for a catalogue."""
    raise TypeError(type(section))


@build_affinity.register
def _embedding(section: sections.Embedding, catalogue: Catalogue, generator: torch.Generator) -> Affinity:
    return EmbeddingAffinity(
        len(catalogue.users), len(catalogue.items), dim=section.dim, scale=section.scale, generator=generator
    )


@build_affinity.register
def _fixed(section: sections.Fixed, catalogue: Catalogue, generator: torch.Generator) -> Affinity:
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


@singledispatch
def build_prior(section: Any) -> PopularityPrior:
    """Return the prior that a section declares."""
    raise TypeError(type(section))


@build_prior.register
def _gamma(section: sections.Gamma) -> PopularityPrior:
    return GammaPrior(section.concentration)


@singledispatch
def build_saturation(section: Any) -> tuple[Saturation, bool]:
    """Return the saturation that a section declares, and whether its parameter is learned."""
    raise TypeError(type(section))


@build_saturation.register
def _exponential(section: sections.Exponential) -> tuple[Saturation, bool]:
    return ExponentialSaturation(_start(section.rate)), section.rate == "learned"


@build_saturation.register
def _hill(section: sections.Hill) -> tuple[Saturation, bool]:
    return HillSaturation(_start(section.half)), section.half == "learned"


@build_saturation.register
def _tanh(section: sections.Tanh) -> tuple[Saturation, bool]:
    return TanhSaturation(_start(section.rate)), section.rate == "learned"


def _start(parameter: float | str) -> float:
    return 1.0 if isinstance(parameter, str) else parameter


def build(study: Study, catalogue: Catalogue) -> tuple[PopularityModel, PopularityGuide]:
    """Return the model and the guide of a study, at their start.

    Raises:
        IncompatibleError: the guide's support is not the model's; names the guides that fit.
        DataError: given vectors do not fit the catalogue.
    """
    generator = torch.Generator().manual_seed(study.training.seed)
    options = Options(*build_saturation(study.model.saturation), study.model.slope)
    model_class = MODELS[study.model.name]
    guide_class = GUIDES[study.guide.name]
    support = model_class.latents["popularity"].support
    if not same_support(guide_class.support, support):
        fitting = [name for name, cls in GUIDES.items() if same_support(cls.support, support)]
        raise IncompatibleError(
            f"PB-C078: guide {study.guide.name!r} lives on {guide_class.support}, popularity in model "
            f"{study.model.name!r} on {support}; guides that fit: {', '.join(fitting)}"
        )
    with local_parameters():
        affinity = build_affinity(study.model.affinity, catalogue, generator)
        model = model_class.assemble(affinity, build_prior(study.model.prior), options)
        return model, guide_class(model.prior.population(), catalogue.cells)
