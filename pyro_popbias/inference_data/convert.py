"""ArviZ containers of a fit: groups, items and rows, and a limit on their size.

| group | dims | content |
| --- | --- | --- |
| posterior, prior | chain, draw, item[, period] | popularity, and global weights by feature |
| posterior | chain, draw | intercept, slope or rate, concentration, scales: what all cells share |
| constant_data | item[, period] | count and positives |
| observed_data | interaction | labels |
| prior_predictive, posterior_predictive | chain, draw, interaction | labels drawn |
| log_likelihood | chain, draw, interaction | log-likelihood of the labels, in nats |
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pyro_popbias.assembly.training_data import given_score, split_rows
from pyro_popbias.data.ids import as_text, column_of
from pyro_popbias.errors import ConfigError, DataError, DataWarning, IncompatibleError
from pyro_popbias.inference_data.arviz_compat import to_container
from pyro_popbias.inference_data.interaction_draws import InteractionSubset, log_likelihood, predictive
from pyro_popbias.inference_data.loo_conditions import reason_against
from pyro_popbias.inference_data.popularity_draws import CellCoords, Draws, check_size, constants_dataset
from pyro_popbias.prediction.posterior_tables import kind_of_interval
from pyro_popbias.registry import nearest
from pyro_popbias.trained import Trained
from pyro_popbias.validation import require_integer, require_seed

GROUPS = ("posterior", "prior", "observed_data", "constant_data")
BY_ROW = {"prior_predictive": 1, "posterior_predictive": 1, "log_likelihood": 8}  # bytes a draw
SAMPLE = 1000  # rows sampled for groups with draws per row, unless rows= is given


def container(
    fit: Trained,
    *,
    draws: int,
    items: Iterable[Any] | None,
    rows: Iterable[int] | None,
    groups: Sequence[str],
    seed: int,
) -> Any:
    """Return ArviZ's container of a fit; see `Fit.to_arviz`."""
    draws, seed = require_integer("draws", draws, 1), require_seed(seed)
    by_row = _check_groups(fit, groups)
    if "log_likelihood" in groups and (reason := reason_against(fit)):
        warnings.warn(
            f"PB-D361: leave-one-out (az.loo, az.compare) does not hold for this fit: {reason}; compare fits by their "
            "held-out log-score, pb.compare",
            DataWarning,
            stacklevel=3,
        )
    cells = _cells(fit, items)
    chosen = _rows(fit, rows, sample=bool(by_row), seed=seed) if by_row or "observed_data" in groups else None
    weights = sum(len(distribution.loc) for distribution in fit.guide.global_weights().values())
    check_size(
        draws,
        chains=len(fit.chains),
        cells=len(cells.code) + weights,
        groups=len({"posterior", "prior"} & set(groups)),
        rows=0 if chosen is None else len(chosen),
        bytes_a_row=sum(BY_ROW[group] for group in by_row),
    )
    makers = _makers_of_cells(fit, cells, draws, seed)
    if chosen is not None:
        makers |= _makers_of_rows(fit, chosen, draws, seed, held_out=bool(by_row))
    return to_container({group: makers[group]() for group in groups})


def _draws(fit: Trained, draws: int, seed: int) -> tuple[Draws, Draws]:
    """Return draws of the posterior and of the prior, independent of each other."""
    return (
        Draws(fit.chains, fit.catalogue, draws, seed, "posterior"),
        Draws(fit.chains, fit.catalogue, draws, seed + 1, "prior"),
    )


def _makers_of_cells(fit: Trained, cells: CellCoords, draws: int, seed: int) -> dict[str, Callable[[], xr.Dataset]]:
    """Return a function for each group of cells that makes it."""
    posterior, prior = _draws(fit, draws, seed)
    return {
        "posterior": lambda: posterior.dataset(cells).assign_attrs(
            note=kind_of_interval(fit.model, fit.study.data.negatives)
        ),
        "prior": lambda: prior.dataset(cells),
        "constant_data": lambda: constants_dataset(fit.catalogue, cells),
    }


def _makers_of_rows(
    fit: Trained, rows: InteractionSubset, draws: int, seed: int, *, held_out: bool
) -> dict[str, Callable[[], xr.Dataset]]:
    """Return a function for each group of interactions that makes it."""
    posterior, prior = _draws(fit, draws, seed)
    coords = _row_coords(fit, rows, held_out=held_out)
    of_posterior = {**posterior.coords, **coords}
    return {
        "observed_data": lambda: _labels(rows.label.astype(np.int8), coords),
        "prior_predictive": lambda: _labels(predictive(prior, rows), {**prior.coords, **coords}),
        "posterior_predictive": lambda: _labels(predictive(posterior, rows), of_posterior),
        "log_likelihood": lambda: _labels(log_likelihood(posterior, rows), of_posterior).assign_attrs(
            _note_on_loo(fit, coords)
        ),
    }


def _check_groups(fit: Trained, groups: Sequence[str]) -> list[str]:
    """Return the groups with draws per row, or raise where a fit does not have them.

    Raises:
        ConfigError: a group is unknown.
        IncompatibleError: rows have no likelihood each.
        DataError: the run was saved without its interactions.
    """
    if isinstance(groups, str):
        raise ConfigError(f"PB-C013: groups={groups!r} is a single string; pass a tuple of names")
    known = (*GROUPS, *BY_ROW)
    for group in groups:
        if group not in known:
            raise ConfigError(
                f"PB-C013: unknown group {group!r}{nearest(str(group), known)} Groups: {', '.join(known)}"
            )
    by_row = [group for group in groups if group in BY_ROW]
    model = fit.study.model
    if by_row and fit.model.pairwise:
        raise IncompatibleError(
            f"PB-C130: model {model.name!r} gives scores, not probabilities, so a row's label has neither a "
            f"predictive distribution nor a log-likelihood; leave out {', '.join(by_row)}"
        )
    if by_row and model.latent == "interaction":
        raise IncompatibleError(
            "PB-C131: with latent = 'interaction' every row has its own popularity, of which there are no draws; "
            f"leave out {', '.join(by_row)}"
        )
    of_rows = [group for group in groups if group in BY_ROW or group == "observed_data"]
    if of_rows and fit.events is None:
        raise DataError(f"PB-D106: {fit.unsaved}; leave out {', '.join(of_rows)}")
    return by_row


def _cells(fit: Trained, items: Iterable[Any] | None) -> CellCoords:
    """Return the cells of the given item ids; of all items by default."""
    listed = None if items is None else list(items)
    if listed == []:
        raise ConfigError("PB-C016: items= is empty; leave it out for all items")
    ids = fit.catalogue.items if listed is None else pd.Index(as_text(column_of(listed), "items")).unique()
    code = fit.catalogue.items.get_indexer(ids)
    if (code < 0).any():
        raise DataError(f"PB-D049: {(code < 0).sum()} unseen items, first {', '.join(ids[code < 0][:5])}")
    return CellCoords.of_items(ids, np.asarray(code), fit.catalogue.periods)


def _rows(fit: Trained, rows: Iterable[int] | None, *, sample: bool, seed: int) -> InteractionSubset:
    """Return the rows at the given positions; by default all, or a sample."""
    events = fit.events
    assert events is not None  # noqa: S101  refused above
    position = np.arange(len(events)) if rows is None else _positions(rows, len(events))
    if rows is None and sample and len(events) > SAMPLE:
        position = np.sort(np.random.default_rng(seed).choice(len(events), SAMPLE, replace=False))
    label = np.ones(len(position), dtype=np.int8) if events.label is None else events.label[position]
    score = given_score(events.columns, fit.study) if sample else None
    return InteractionSubset(
        position=position,
        user=events.user[position],
        item=events.item[position],
        cell=events.cell[position],
        label=label,
        score=None if score is None else score[position],
    )


def _positions(rows: Iterable[int], number: int) -> np.ndarray:
    """Return the distinct positions in the order given.

    Raises:
        ConfigError: there are none, or one is not the position of an interaction.
    """
    listed = list(rows)
    if not listed:
        raise ConfigError(
            "PB-C016: rows= is empty; leave it out for all rows, or for a sample in groups with draws per row"
        )
    position = np.asarray(listed)
    if position.dtype.kind not in "iu":
        raise ConfigError(f"PB-C132: rows= must be integer positions of interactions, not {listed[0]!r}")
    if position.min() < 0 or position.max() >= number:
        raise ConfigError(f"PB-C016: rows= must be positions from 0 to {number - 1}")
    return np.asarray(pd.unique(position.astype(np.int64)))


def _row_coords(fit: Trained, rows: InteractionSubset, *, held_out: bool) -> dict[str, Any]:
    """Return the positions as a coordinate, with `held_out` marking rows that were not trained on if asked for."""
    coords: dict[str, Any] = {"interaction": rows.position}
    if held_out and fit.events is not None:
        _, out = split_rows(fit.events, fit.study, seed=fit.study.training.seed)
        coords["held_out"] = ("interaction", np.isin(rows.position, out))
    return coords


def _labels(values: np.ndarray, coords: dict[str, Any]) -> xr.Dataset:
    """Return a group with the one variable `label`, named as the sample site."""
    dims = [name for name in ("chain", "draw", "interaction") if name in coords]
    return xr.Dataset({"label": (dims, values)}, coords=coords)


def _note_on_loo(fit: Trained, coords: dict[str, Any]) -> dict[str, str]:
    """Return attributes on LOO: why it is invalid, or for which rows it is valid."""
    if reason := reason_against(fit):
        return {"reason": f"no LOO: {reason}"}
    number = int(coords["held_out"][1].sum())
    if not number:
        return {}
    return {
        "note": f"{number} rows were held out of the training (coordinate held_out); LOO is valid for the others only"
    }
