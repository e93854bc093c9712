"""The rows of a training as tensors: which are held out, their given scores, and where they live."""

import os

import numpy as np
import pandas as pd
import torch

from pyro_popbias.data.batches import TrainingBatches
from pyro_popbias.data.frames import check_columns
from pyro_popbias.data.holdout import hold_out
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.negatives import Negatives
from pyro_popbias.data.popular_negatives import PopularNegatives
from pyro_popbias.data.splits import require_split
from pyro_popbias.data.stored_log import StoredLog
from pyro_popbias.data.stored_rows import StoredRows
from pyro_popbias.errors import ConfigError, DataError
from pyro_popbias.guides import CellStatistics
from pyro_popbias.study.sections import FixedAffinityConfig
from pyro_popbias.study.study import Study


def cell_statistics(
    events: Interactions, train: np.ndarray | StoredRows, rows: TrainingBatches, seed: int
) -> CellStatistics:
    """Return what a guide may know of the cells: training rows and no held-out ones."""
    positives, catalogue = positives_of(events, train), events.catalogue
    return CellStatistics(rows.cell_count.cpu().numpy(), positives, catalogue.periods, catalogue.item_features, seed)


def positives_of(events: Interactions, rows: np.ndarray | StoredRows) -> np.ndarray:
    """Return how many of some rows are positive in each cell, `(C,)`."""
    if isinstance(rows, StoredRows):
        return np.pad(rows.counts.positives, (0, events.cells - len(rows.counts.positives)))
    label = None if events.label is None else events.label[rows]
    return np.bincount(events.cell[rows], weights=label, minlength=events.cells)


def given_score(columns: pd.DataFrame, study: Study) -> np.ndarray | None:
    """Return the given affinity of every row, `(N,)`; None where affinities come from vectors or features.

    Args:
        columns: the columns of the interactions, or of the pairs to predict.
        study: it names the score column.

    Raises:
        ConfigError: negatives are sampled, which have no score.
        DataError: the column is missing, or has values that are not numbers, are missing or not finite.
    """
    affinity = study.model.affinity
    if not isinstance(affinity, FixedAffinityConfig) or affinity.score is None:
        return None
    if study.data.negatives:
        raise ConfigError(
            "PB-C019: a fixed score column has no value for sampled negatives; give user_vectors and item_vectors"
        )
    check_columns(columns, [affinity.score])
    column = columns[affinity.score]
    if not pd.api.types.is_numeric_dtype(column.dtype):
        raise DataError(f"PB-D068: column {affinity.score!r} holds {column.dtype} values; scores are numbers")
    score = column.to_numpy(dtype="float64", copy=True)
    broken = ~np.isfinite(score)
    if broken.any():
        raise DataError(
            f"PB-D068: column {affinity.score!r} has {broken.sum()} scores that are missing or not finite in "
            f"{len(score)} rows; fill or drop them"
        )
    return score


def training_negatives(
    events: Interactions, study: Study, *, rows: np.ndarray | StoredRows, device: str
) -> Negatives | None:
    """Return what draws the negatives of training rows; None where labels are the data's own.

    Args:
        events: the interactions.
        study: what was declared, with the defaults that depend on the data.
        rows: positions of the training rows.
        device: where draws live.
    """
    number = study.data.negatives or 0
    kind = PopularNegatives if study.data.negative_sampling == "popularity" else Negatives
    if not number:
        return None
    assert isinstance(rows, np.ndarray)  # noqa: S101  `rows_of_training` refuses negatives for rows on disk
    return kind(events, number, rows=rows, device=device)


def choose_device(name: str) -> str:
    """Return "cpu" or "cuda".

    Raises:
        ConfigError: cuda is asked for and not there.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError("PB-C087: device = 'cuda', but torch finds no CUDA device; use device = 'auto' or 'cpu'")
    chosen = "cuda" if there and name != "cpu" else "cpu"
    if chosen == "cuda" and "LOCAL_RANK" in os.environ:  # torchrun: a device for each process of a machine
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return chosen


def split_rows(events: Interactions, study: Study, *, seed: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of the training and of the held-out rows; where negatives are sampled, of positives only.

    Args:
        events: the interactions.
        study: what was declared, with the defaults that depend on the data.
        seed: decides which are held out; the study's by default.

    Raises:
        DataError: the rows are on disk, where positions of all of them are not held in memory.
    """
    if events.stored is not None:
        raise DataError(
            f"PB-D450: the rows of the fit are on disk, in {events.stored.folder}, and this takes positions of all of them in "
            "memory; ask it of a fit to a part of the log, read with read_interactions"
        )
    number = study.data.negatives or 0
    usable = np.flatnonzero(events.label) if number and events.label is not None else np.arange(len(events))
    held_out = study.training.held_out
    how = require_split(held_out.split, has_time=events.time is not None)
    return hold_out(events, usable, held_out.share, study.training.seed if seed is None else seed, how=how)


def rows_of_training(
    events: Interactions, study: Study, *, seed: int | None = None
) -> tuple[np.ndarray, np.ndarray] | tuple[StoredRows, StoredRows]:
    """Return the training and the held-out rows: positions, as `split_rows` does, or rows of a log on disk.

    Args:
        events: the interactions.
        study: as in `split_rows`.
        seed: likewise.

    Raises:
        DataError: the log is on disk, and the study draws negatives or holds out other than random rows.
    """
    if events.stored is None:
        return split_rows(events, study, seed=seed)
    return _stored(events.stored, study, study.training.seed if seed is None else seed)


def _stored(log: StoredLog, study: Study, seed: int) -> tuple[StoredRows, StoredRows]:
    """Return training and held-out rows of a log on disk."""
    if study.data.negatives:
        raise DataError(
            f"PB-D447: negatives are drawn against a sorted table of all positives, and the {log.rows:,} rows of a stored log "
            "are not held in memory; give it a label column with both classes, or read the log with read_interactions"
        )
    held_out = study.training.held_out
    if held_out.split != "random":
        raise DataError(
            f"PB-D446: rows of a stored log are held out at random, not by split = {held_out.split!r}, which would sort them; "
            "leave split out of [training] validation"
        )
    return StoredRows.hold_out(log, held_out.share, seed)
