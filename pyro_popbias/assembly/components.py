"""From the sections of a study to the parts of a model: each section's class has one function here."""

from contextlib import AbstractContextManager
from functools import singledispatch
from typing import Any

import numpy as np
import pandas as pd
import pyro
import torch
from torch import Tensor

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.features import Features
from pyro_popbias.data.frames import as_frame
from pyro_popbias.data.ids import as_text
from pyro_popbias.data.table_files import read_table
from pyro_popbias.errors import ConfigError, DataError, IncompatibleError
from pyro_popbias.guides import GUIDES, AffinityGuide, Cells, JointGuide, lies_inside
from pyro_popbias.models import (
    MODELS,
    PRIORS,
    Affinity,
    BayesianEmbeddingAffinity,
    EmbeddingAffinity,
    ExponentialSaturation,
    FactorizationAffinity,
    FixedScoreAffinity,
    FixedVectorAffinity,
    HillSaturation,
    ItemPrior,
    LinearAffinity,
    Options,
    PopularityModel,
    PopularityPrior,
    PowerSaturation,
    Saturation,
    TanhSaturation,
)
from pyro_popbias.models.priors.prior import START_CONCENTRATION, ConcentratedPrior
from pyro_popbias.study import sections
from pyro_popbias.study.study import Study

# of a whole guide: numbers kept for each that is learned (itself, gradient, two moments), and for each cell drawn
COPIES, DRAWN = 4, 20
LARGEST_WHOLE = 2 * 1024**3  # bytes

SATURATIONS: dict[type[sections.Section], type[Saturation]] = {
    sections.Exponential: ExponentialSaturation,
    sections.Hill: HillSaturation,
    sections.Tanh: TanhSaturation,
    sections.Power: PowerSaturation,
}


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
    users, items = len(catalogue.users), len(catalogue.items)
    scale = None if isinstance(section.scale, str) else section.scale
    if section.posterior == "mean-field" or scale is None:
        return BayesianEmbeddingAffinity(users, items, dim=section.dim, scale=scale)
    return EmbeddingAffinity(users, items, dim=section.dim, scale=scale, generator=generator)


@build_affinity.register
def _linear(section: sections.Linear, catalogue: Catalogue, generator: torch.Generator) -> Affinity:
    features = _features(catalogue)
    if not features:
        raise DataError(
            "PB-D109: a linear affinity needs features of users or items; pass user_features= or item_features= with the "
            "interactions, or name their files in [data]"
        )
    return LinearAffinity(features, items=len(catalogue.items))


@build_affinity.register
def _factorization(
    section: sections.FactorizationMachine, catalogue: Catalogue, generator: torch.Generator
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


def check_fit(model: str, prior: str, guide: str) -> None:
    """Refuse a prior that does not fit a model, or a guide that does not fit a prior.

    Raises:
        IncompatibleError: names what fits.
    """
    latent, support = MODELS[model].latents["popularity"].support, PRIORS[prior].support
    priors = [name for name, cls in PRIORS.items() if lies_inside(cls.support, latent)]
    if prior not in priors:
        raise IncompatibleError(
            f"PB-C078: prior {prior!r} lives on {support}, popularity in model {model!r} on {latent}; "
            f"priors that fit: {', '.join(priors)}"
        )
    if GUIDES[guide].fits(support) and GUIDES[guide].kl_to(PRIORS[prior]().population()) is None:
        raise IncompatibleError(
            f"PB-C105: the KL of guide {guide!r} to prior {prior!r} has no closed form, and the guide's class does not declare "
            "kl = 'sampled'; declare it, or register the closed form with torch.distributions.register_kl"
        )
    if not GUIDES[guide].fits(support):
        guides = [name for name, cls in GUIDES.items() if cls.fits(support)]
        others = [name for name in priors if GUIDES[guide].fits(PRIORS[name].support)]
        remedy = f"; or priors for this guide: {', '.join(others)}" if others else ""
        raise IncompatibleError(
            f"PB-C078: guide {guide!r} does not live on {support}, as prior {prior!r} in model {model!r} does; "
            f"guides that fit: {', '.join(guides)}{remedy}"
        )


def _check_saturation(study: Study, saturation: Saturation) -> None:
    fitting = MODELS[study.model.name].saturations
    if fitting and not isinstance(saturation, fitting):
        names = [section.model_fields["name"].default for section, cls in SATURATIONS.items() if cls in fitting]
        raise IncompatibleError(
            f"PB-C081: model {study.model.name!r} takes no saturation {study.model.saturation.name!r}; saturations that "
            f"fit: {', '.join(names)}"
        )


def check_given(study: Study) -> None:
    """Refuse an option that is given and that the model would not look at.

    Raises:
        IncompatibleError: names the models that take it.
    """
    model, name = MODELS[study.model.name], study.model.name
    # the default may stand in a study file whose model is swapped by one word
    if study.model.saturation != sections.Exponential() and not model.saturations:
        takers = ", ".join(other for other, cls in MODELS.items() if cls.saturations)
        raise IncompatibleError(
            f"PB-C091: model {name!r} has no saturation; leave saturation out, or use a model that takes one: {takers}"
        )
    if study.model.slope == "free" and not model.free_slope:
        takers = ", ".join(other for other, cls in MODELS.items() if cls.free_slope)
        raise IncompatibleError(
            f"PB-C092: model {name!r} has no slope, and always increases with popularity; leave slope out, or use a model "
            f"that takes one: {takers}"
        )


def check_whole(guide: str, cells: int, latent: str, particles: int = 1) -> None:
    """Refuse a guide that draws all cells together where it would not fit into memory, or has no place.

    Raises:
        IncompatibleError: popularity is one an interaction.
        ConfigError: the guide is too large; the message says by how much.
    """
    cls = GUIDES[guide]
    if not cls.whole:
        return
    local = ", ".join(name for name, other in GUIDES.items() if not other.whole)
    if latent == "interaction":
        raise IncompatibleError(
            f"PB-C103: guide {guide!r} draws one popularity a cell, all together, and latent = 'interaction' one a row; "
            f"guides that draw row by row: {local}"
        )
    size = 8 * (COPIES * cls.size(cells) + DRAWN * cells * particles)
    if size > LARGEST_WHOLE:
        raise ConfigError(
            f"PB-C104: guide {guide!r} draws all {cells} cells at every step and learns {cls.size(cells)} numbers: about "
            f"{size / 1024**3:.1f} GiB with gradients and the optimiser's memory, more than "
            f"{LARGEST_WHOLE / 1024**3:.0f}; use a guide whose step costs as much as its batch: {local}"
        )


def build(
    study: Study, catalogue: Catalogue, cells: Cells, prior: PopularityPrior | None = None
) -> tuple[PopularityModel, JointGuide]:
    """Return the model and the guide of a study, at their start.

    Args:
        study: what was declared.
        catalogue: ids and features.
        cells: what guides may know of the training rows.
        prior: the law of popularity; left out, it is made for a state that is loaded.

    Raises:
        IncompatibleError: the prior's support does not lie inside the model's, the guide's is not the prior's, or the model
            takes no such saturation; names what fits.
        DataError: given vectors do not fit the catalogue, or features are missing.
    """
    generator = torch.Generator().manual_seed(study.training.seed)
    options = Options(*build_saturation(study.model.saturation), study.model.slope)
    _check_saturation(study, options.saturation)
    check_fit(study.model.name, study.model.prior.name, study.guide.name)
    check_whole(study.guide.name, len(cells), study.model.latent, study.training.particles)
    with local_parameters():
        affinity = build_affinity(study.model.affinity, catalogue, generator)
        prior = build_prior(study.model.prior, len(cells)) if prior is None else prior
        model = MODELS[study.model.name].assemble(affinity, prior, options)
        popularity = GUIDES[study.guide.name].build(model.prior.laws(), cells)
        latents = affinity.latents(generator)
        return model, JointGuide(popularity, AffinityGuide(latents) if latents else None)
