"""Batches of one shape: cells, users and items that no row belongs to fill up those that a batch has."""

from dataclasses import replace

import torch
from torch import Tensor

from pyro_popbias.data.batch import Batch, CellDraws, UniqueIds


def pad(batch: Batch, *, draws: int, cells: int, users: int | None, items: int | None, periods: int = 1) -> Batch:
    """Return a batch with the same rows and the same loss, whose tensors have shapes that do not depend on the rows.

    What is added has weight 0: user 0 and item 0, without rows.

    Args:
        batch: whose cells are all distinct, or have several draws.
        draws: of cells in all, at least as many as there are.
        cells: distinct ones, at least as many as there are.
        users: likewise; None where nobody asks for the distinct ones.
        items: likewise.
        periods: of what is added, all cells of an item, as guides take them that join periods.
    """
    cell, number = fill(batch.cell, draws), len(batch.cell)
    cell[number:] = torch.arange(draws - number, device=cell.device) % periods
    padded = replace(batch, cell=cell, weight=fill(batch.weight, draws))
    if batch.draws > 1:
        own = batch.cells
        padded.__dict__["cells"] = CellDraws(*(fill(each, size) for each, size in _sizes(own, cells, draws)))
    for name, size in (("users", users), ("items", items)):
        if size is None:
            continue
        group: UniqueIds = getattr(batch, name)
        filled = UniqueIds(fill(group.code, size), group.cell_index, fill(group.weight, size))
        padded.__dict__[name] = filled  # where the cached property keeps it
    return padded


def _sizes(cells: CellDraws, distinct: int, draws: int) -> list[tuple[Tensor, int]]:
    return [(cells.code, distinct), (cells.first, distinct), (cells.index, draws)]


def fill(values: Tensor, size: int) -> Tensor:
    """Return values `(G, ...)` with zeros after them, `(size, ...)`."""
    return torch.cat([values, values.new_zeros(size - len(values), *values.shape[1:])])
