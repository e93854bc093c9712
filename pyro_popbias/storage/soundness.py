"""Whether what a run folder holds goes together: files that are whole one by one may be of different runs."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.distributions.summary import summary
from pyro_popbias.errors import CorruptCheckpointError
from pyro_popbias.storage.contents import most_bytes
from pyro_popbias.study.study import Study
from pyro_popbias.trained import Trained

LOOKED_AT = 1000  # cells whose popularity is compared with the table of the run
NUMBER = 8  # bytes of a dimension: mean and scale, or one number in float64
TOLERANCE = 1e-3  # of it: another machine rounds differently


def check_sound(fit: Trained, table: bytes | None, folder: Path) -> None:
    """Refuse a fit whose parts are of different runs.

    Args:
        fit: as it was read.
        table: content of the run's popularity.csv; None where there is none.
        folder: for messages.

    Raises:
        CorruptCheckpointError: ids, counts, rows, parameters or the table of popularity contradict each other.
    """
    found = [*_of_catalogue(fit.catalogue), *_of_rows(fit), *_of_parameters(fit)]
    if not len(fit.history) or not {"phase", "epoch", "validation_log_score", "seconds"} <= set(fit.history):
        found.append("history.csv has no epochs")
    if table is not None and not found:
        found += _of_popularity(fit, table)
    if found:
        raise CorruptCheckpointError(
            f"PB-R156: the files of {folder} do not go together: {'; '.join(found[:3])}; restore the folder from a copy"
        )


def check_sizes(study: Study, tensors: dict[str, Tensor], folder: Path) -> None:
    """Refuse a study whose vectors would be far larger than what there is: they are made before they are given their values.

    Dimensions that training dropped are declared and not there, so that vectors may be larger than their tensors.

    Args:
        study: as it was read.
        tensors: of its modules.
        folder: for messages.

    Raises:
        CorruptCheckpointError: the vectors that it declares would not fit into the budget of `contents`.
    """
    longest = max((size for tensor in tensors.values() for size in tensor.shape), default=0)
    dim = study.model.affinity.model_dump().get("dim")
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if isinstance(dim, int) and NUMBER * dim * longest > most_bytes(held):
        raise CorruptCheckpointError(
            f"PB-R156: the files of {folder} do not go together: vectors of {dim} dimensions are declared, and {longest} of them "
            "would be far larger than what the folder holds; restore it from a copy"
        )


def _of_catalogue(catalogue: Catalogue) -> list[str]:
    users, items, cells = len(catalogue.users), len(catalogue.items), catalogue.cells
    sizes = {"count": cells, "positives": cells, "user_count": users, "user_positives": users, "user_items": users}
    counts = {name: getattr(catalogue, name) for name in sizes if getattr(catalogue, name) is not None}
    wrong = [
        f"{name} has shape {counts[name].shape} and not ({size},)"
        for name, size in sizes.items()
        if name in counts and counts[name].shape != (size,)
    ]
    wrong += [f"{name} has negative numbers" for name, count in counts.items() if count.size and not count.min() >= 0]
    for name, ids in (("users", catalogue.users), ("items", catalogue.items)):
        if not len(ids) or ids.hasnans or not ids.is_unique:
            wrong.append(f"ids of {name} are missing, or there twice")
    if not wrong and cells != catalogue.periods * items:
        wrong.append(f"{cells} cells are not those of {items} items")
    if not wrong and (catalogue.positives > catalogue.count).any():
        wrong.append("there are more positives than rows")
    return wrong


def _of_rows(fit: Trained) -> list[str]:
    wrong = []
    for events in (fit.events, fit.earlier):
        if events is not None and events.stored is None:
            wrong += _codes(events, fit.catalogue)
    stored = fit.events is not None and fit.events.stored is not None
    if not wrong and fit.events is not None and not stored and len(fit.events) != int(fit.catalogue.count.sum()):
        wrong.append(f"{len(fit.events)} rows are not the {int(fit.catalogue.count.sum())} that were counted")
    return wrong


def _codes(events: Interactions, catalogue: Catalogue) -> list[str]:
    limits = {"user": len(catalogue.users), "item": len(catalogue.items), "label": 2}
    columns = {name: getattr(events, name) for name in limits if getattr(events, name) is not None}
    return [
        f"{name} codes or labels of rows are not integers from 0 to {limits[name] - 1}"
        for name, column in columns.items()
        if column.dtype.kind not in "biu" or (column.size and not (column.min() >= 0 and column.max() < limits[name]))
    ]


def _of_parameters(fit: Trained) -> list[str]:
    """Return which numbers that were learned are not finite."""
    return [
        f"{name} is not finite"
        for chain in fit.chains
        for module in (chain.model, chain.guide)
        for name, parameter in module.named_parameters()
        if not bool(torch.isfinite(parameter).all())
    ]


def _of_popularity(fit: Trained, table: bytes) -> list[str]:
    """Return whether the popularity of some cells is not that of the table."""
    number = min(LOOKED_AT, fit.catalogue.cells)
    recorded = pd.read_csv(io.BytesIO(table), usecols=["mean"], nrows=number)["mean"].to_numpy(dtype=float)
    with torch.no_grad():
        cell = torch.arange(number, device=fit.guide.device)
        of_prior = summary(fit.model.prior.distribution(cell), 0.05)["mean"].cpu().numpy()
        of_q = summary(fit.guide.popularity.posterior(cell), 0.05)["mean"].cpu().numpy()
    without = fit.catalogue.without_rows(by_item=fit.model.prior.joins_periods)[:number]
    now = np.where(without, of_prior, of_q)
    if recorded.shape == now.shape and np.allclose(recorded, now, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
        return []
    return ["parameters and popularity.csv are of different fits"]
