"""A pair: model, guide, objective and batches, built from a study, for `pb.fit` or for anyone's own loop."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from pyro_popbias.assembly.components import SATURATIONS, build, check_given, local_parameters
from pyro_popbias.assembly.prior_sources import make_prior
from pyro_popbias.data.batches import Batch, Rows
from pyro_popbias.data.frames import check_columns
from pyro_popbias.data.holdout import hold_out
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.negatives import Negatives
from pyro_popbias.errors import ConfigError, DataError, DataWarning, IncompatibleError
from pyro_popbias.guides import GUIDES, Cells, JointGuide
from pyro_popbias.models import MODELS, PRIORS, PopularityModel
from pyro_popbias.models.priors.prior import ConcentratedPrior
from pyro_popbias.objective import Objective
from pyro_popbias.study.sections import Fixed, Power
from pyro_popbias.study.study import Study

BLOCK = 262_144  # rows evaluated at once


@dataclass(frozen=True)
class Pair:
    """Everything that training needs; two pairs share nothing.

    Attributes:
        study: what was declared, with the defaults that depend on model and data.
        events: the interactions.
        model: the model, a PyroModule over a batch.
        guide: the guide, a PyroModule over a batch.
        objective: `objective(model, guide)` is a module whose value on a batch is the loss.
        rows: training rows; where negatives are sampled, the positives among them.
        held_out: rows for early stopping; None without validation.
        device: "cpu" or "cuda".
    """

    study: Study
    events: Interactions
    model: PopularityModel
    guide: JointGuide
    objective: Objective
    rows: Rows
    held_out: Rows | None
    device: str

    def batches(self, seed: int | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, every training row once, with negatives of its own where they are sampled.

        Args:
            seed: with `epoch`, decides the order and the negatives; the study's by default.
            epoch: counted from 0.
        """
        seed = self.study.training.seed if seed is None else seed
        return self.rows.batches(self.study.training.batch_size, seed=seed, epoch=epoch)

    def whole(self) -> Batch:
        """Return all training rows as one batch."""
        return self.rows.whole()

    def look(self) -> None:
        """Show the guide the present affinities of the training rows, where it makes use of them."""
        popularity = self.guide.popularity
        if not popularity.looks:
            return
        with torch.no_grad():
            total = torch.zeros(self.events.cells, dtype=torch.float64, device=self.device)
            number = torch.zeros_like(total)
            weights = self.guide.weights()
            for batch in self.rows.blocks(BLOCK):
                mean = self.model.affinity.relative(batch.user, batch.item, batch.score, weights).mean
                cell = batch.cell.index_select(0, batch.slot)
                total.index_add_(0, cell, mean)
                number.index_add_(0, cell, torch.ones_like(mean))
            popularity.see(total / number.clamp(min=1.0))


def pair(
    events: Interactions, *, model: str | None = None, guide: str | None = None, study: Study | None = None
) -> Pair:
    """Return the pair of a study, or of names.

    Args:
        events: interactions.
        model: name of a model, in place of the study's.
        guide: name of a guide, in place of the study's.
        study: the study; its defaults where left out.

    Raises:
        UnknownNameError: no model or guide has such a name.
        IncompatibleError: model and guide do not fit.
        DataError: the data hold one class only, or lack what the study needs.
        ConfigError: the device is not there.
    """
    return assemble(events, with_names(study or Study(), model=model, guide=guide))


def with_names(study: Study, *, model: str | None = None, guide: str | None = None) -> Study:
    """Return the study with its model's or guide's name replaced, checked as a whole."""
    if model is not None:
        study = study.replace("model", name=model)
    if guide is not None:
        study = study.replace("guide", name=guide)
    study.check_names()
    return study


def assemble(events: Interactions, study: Study, *, split_seed: int | None = None) -> Pair:
    """Return the pair of a study.

    Args:
        events: interactions.
        study: what was declared.
        split_seed: decides the rows held out, so that restarts share them; the study's by default.
    """
    if not isinstance(events, Interactions):
        raise DataError(
            f"PB-D001: expected Interactions, got {type(events).__name__}; make them with "
            "pb.Interactions.from_frame(frame, user=..., item=..., label=...)"
        )
    study = with_defaults(study, events)
    training = study.training
    device = choose_device(training.device)
    number = study.data.negatives or 0
    negatives = Negatives(events, number, device=device) if number else None
    train, held_out = split_rows(events, study, seed=split_seed)
    if training.batch_size > len(train) * (1 + number) and "batch_size" in training.model_fields_set:
        message = (
            f"PB-C085: batch_size {training.batch_size} is more than the {len(train)} training rows; all are one batch"
        )
        warnings.warn(message, DataWarning, stacklevel=3)
    tensors = partial(
        Rows,
        events,
        score=given_score(events, study),
        negatives=negatives,
        latent=study.model.latent,
        cells="all" if GUIDES[study.guide.name].whole else "of batch",
        device=device,
    )
    rows = tensors(train)
    cells = _cells(events, train, rows, training.seed)
    model, guide = build(study, events.catalogue, cells, make_prior(study, events, train))
    made = Pair(
        study=study,
        events=events,
        model=model.to(device),
        guide=guide.to(device),
        objective=Objective(kl=guide.popularity.kl, particles=training.particles),
        rows=rows,
        held_out=tensors(held_out) if len(held_out) else None,
        device=device,
    )
    with local_parameters():
        made.look()
    return made


def _cells(events: Interactions, train: np.ndarray, rows: Rows, seed: int) -> Cells:
    """Return what a guide may know of the cells: training rows and no held-out ones."""
    label = None if events.label is None else events.label[train]
    positives = np.bincount(events.cell[train], weights=label, minlength=events.cells)
    catalogue = events.catalogue
    return Cells(rows.cell_count.cpu().numpy(), positives, catalogue.periods, catalogue.item_features, seed)


def with_defaults(study: Study, events: Interactions) -> Study:
    """Return the study with the defaults that depend on the model and on whether the data have labels.

    Raises:
        DataError: the data hold one class only, and no negatives are drawn.
        ConfigError: negatives do not go with the data or the model.
        IncompatibleError: the model has one popularity an item only, or does not take an option that is given.
    """
    check_given(study)
    model = MODELS[study.model.name]
    study = study.replace("data", negatives=_negatives(study, events, pairwise=model.pairwise))
    if study.model.latent == "interaction" and not model.per_interaction:
        names = [name for name, cls in MODELS.items() if cls.per_interaction]
        raise IncompatibleError(
            f"PB-C086: model {study.model.name!r} has one popularity an item; latent = 'interaction' goes with "
            f"{', '.join(names)}"
        )
    if model.saturations and "saturation" not in study.model.model_fields_set:
        section = next(section for section, cls in SATURATIONS.items() if cls is model.saturations[0])
        study = study.replace("model", saturation=section())
    _warn_of_free_scales(study)
    return study


def _warn_of_free_scales(study: Study) -> None:
    """Warn where two learned parameters do the work of one: z^exponent changes little if z spreads more instead."""
    saturation, prior = study.model.saturation, study.model.prior
    spread = prior.source == "learned" and issubclass(PRIORS[prior.name], ConcentratedPrior)
    if spread and isinstance(saturation, Power) and saturation.exponent == "learned":
        message = (
            "PB-C102: the exponent of z^exponent and the concentration of the prior are both learned, and the data hardly "
            "tell a larger exponent from a wider prior; give the exponent a number, or the prior source = 'fixed' and a "
            "concentration"
        )
        warnings.warn(message, DataWarning, stacklevel=5)


def _negatives(study: Study, events: Interactions, *, pairwise: bool) -> int:
    """Return the number of negatives that are drawn for each positive."""
    given, label = study.data.negatives, events.label
    if label is not None and not label.any():
        raise DataError(f"PB-D063: the data have label 0 in all {len(events)} rows; popularity would go to 0")
    if pairwise:
        if given == 0:
            raise ConfigError(
                f"PB-C018: model {study.model.name!r} compares positives with negatives; negatives must be 1 or more"
            )
        return given or 1
    if label is None and given != 0:
        return given or 4
    if label is None or label.all():
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


def given_score(events: Interactions, study: Study) -> np.ndarray | None:
    """Return the given affinity of every interaction, `(N,)`; None where affinities are of vectors or features."""
    affinity = study.model.affinity
    if not isinstance(affinity, Fixed) or affinity.score is None:
        return None
    if study.data.negatives:
        raise ConfigError(
            "PB-C019: a fixed score column has no value for sampled negatives; give user_vectors and item_vectors"
        )
    check_columns(events.columns, [affinity.score])
    return finite_score(events.columns[affinity.score], affinity.score)


def finite_score(column: "pd.Series[Any]", name: str) -> np.ndarray:
    """Return a score column as numbers `(N,)`, or refuse it.

    Raises:
        DataError: values are no numbers, missing or not finite.
    """
    if not pd.api.types.is_numeric_dtype(column.dtype):
        raise DataError(f"PB-D068: column {name!r} holds {column.dtype} values; scores are numbers")
    score = column.to_numpy(dtype="float64", copy=True)
    broken = ~np.isfinite(score)
    if broken.any():
        raise DataError(f"PB-D068: column {name!r} has {broken.sum()} scores that are missing or not finite")
    return score


def choose_device(name: str) -> str:
    """Return "cpu" or "cuda".

    Raises:
        ConfigError: cuda is asked for and not there.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError("PB-C087: device = 'cuda', but torch finds no CUDA device; use device = 'auto' or 'cpu'")
    return "cuda" if there and name != "cpu" else "cpu"


def split_rows(events: Interactions, study: Study, *, seed: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of the training and of the held-out rows; where negatives are sampled, of positives only.

    Args:
        events: the interactions.
        study: what was declared, with the defaults that depend on the data.
        seed: decides which are held out; the study's by default.
    """
    number = study.data.negatives or 0
    usable = np.flatnonzero(events.label) if number and events.label is not None else np.arange(len(events))
    return hold_out(events, usable, study.training.validation, study.training.seed if seed is None else seed)
