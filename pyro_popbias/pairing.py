"""A pair: model, guide, objective and batches, built from a study, for `pb.fit` or for anyone's own loop."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from pyro_popbias.batching import Batch, Rows
from pyro_popbias.building import build
from pyro_popbias.errors import ConfigError, DataError, DataWarning
from pyro_popbias.guides import PopularityGuide
from pyro_popbias.interactions import Interactions, check_columns
from pyro_popbias.models import PopularityModel
from pyro_popbias.objective import Objective
from pyro_popbias.sections import Fixed
from pyro_popbias.study import Study


@dataclass(frozen=True)
class Pair:
    """Everything that training needs; two pairs share nothing.

    Attributes:
        study: what was declared.
        events: the interactions.
        model: the model, a PyroModule over a batch.
        guide: the guide, a PyroModule over a batch.
        objective: `objective(model, guide)` is a module whose value on a batch is the loss.
        rows: training rows.
        held_out: rows for early stopping; None without validation.
        device: "cpu" or "cuda".
    """

    study: Study
    events: Interactions
    model: PopularityModel
    guide: PopularityGuide
    objective: Objective
    rows: Rows
    held_out: Rows | None
    device: str

    def batches(self, seed: int | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, every training row once.

        Args:
            seed: with `epoch`, decides the order; the study's by default.
            epoch: counted from 0.
        """
        seed = self.study.training.seed if seed is None else seed
        return self.rows.batches(self.study.training.batch_size, seed=seed, epoch=epoch)

    def whole(self) -> Batch:
        """Return all training rows as one batch."""
        return self.rows.whole()


def pair(
    events: Interactions, *, model: str | None = None, guide: str | None = None, study: Study | None = None
) -> Pair:
    """Return the pair of a study, or of names.

    Args:
        events: labelled interactions.
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


def assemble(events: Interactions, study: Study) -> Pair:
    """Return the pair of a study."""
    if not isinstance(events, Interactions):
        raise DataError(
            f"PB-D001: expected Interactions, got {type(events).__name__}; make them with "
            "pb.Interactions.from_frame(frame, user=..., item=..., label=...)"
        )
    _check_labels(events)
    training = study.training
    device = choose_device(training.device)
    built = build(study, events.catalogue)
    train, held_out = hold_out(events, training.validation, training.seed)
    if training.batch_size > len(train) and "batch_size" in training.model_fields_set:
        message = (
            f"PB-C085: batch_size {training.batch_size} is more than the {len(train)} training rows; all are one batch"
        )
        warnings.warn(message, DataWarning, stacklevel=3)
    score = _score(events, study)
    return Pair(
        study=study,
        events=events,
        model=built[0].to(device),
        guide=built[1].to(device),
        objective=Objective(kl=built[1].kl, particles=training.particles),
        rows=Rows(events, train, score=score, device=device),
        held_out=Rows(events, held_out, score=score, device=device) if len(held_out) else None,
        device=device,
    )


def _check_labels(events: Interactions) -> None:
    if events.label is None or events.label.all():
        what = "no labels" if events.label is None else f"label 1 in all {len(events)} rows"
        raise DataError(
            f"PB-D062: the data have {what}, positives only; this likelihood would send every probability to 1. Give a "
            "label column that has both classes, for example ratings with positive_if='>=4', or clicks among impressions"
        )
    if not events.label.any():
        raise DataError(f"PB-D063: the data have label 0 in all {len(events)} rows; popularity would go to 0")


def _score(events: Interactions, study: Study) -> np.ndarray | None:
    affinity = study.model.affinity
    if not isinstance(affinity, Fixed) or affinity.score is None:
        return None
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


def hold_out(events: Interactions, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of training and of held-out rows, both in random order.

    Every user and every cell keeps at least one training row.

    Args:
        events: the interactions.
        share: share of the rows to hold out.
        seed: decides which.
    """
    order = np.random.default_rng(seed).permutation(len(events))
    free = np.ones(len(events), dtype=bool)
    for codes in (events.user, events.cell):
        free[np.unique(codes[order], return_index=True)[1]] = False
    candidates = np.flatnonzero(free)[: round(share * len(events))]
    held_out = np.zeros(len(events), dtype=bool)
    held_out[candidates] = True
    return order[~held_out], order[held_out]
