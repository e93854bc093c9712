"""Batches: what a Pyro program sees of the interactions, sliced from tensors.

An epoch visits every row once, in an order that costs nothing to make: rows are stored in random order, and epoch e
reads them with a random stride and offset, row (offset + stride k) mod N for k = 0..N-1. So neither a step nor an epoch
ever draws a permutation of all rows.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_popbias.interactions import Interactions


@dataclass(frozen=True)
class Batch:
    """Some interactions and their distinct cells; B interactions, D cells, N rows in all.

    | field | shape | meaning |
    | --- | --- | --- |
    | user, item | (B,) | codes of each interaction |
    | cell | (D,) | distinct (item, period) cells, item * periods + period |
    | slot | (B,) | position of each interaction's cell in `cell` |
    | weight | (D,) | (N/B) b_j / n_j: how often cell j is in the batch over how often in the data |
    | label | (B,) | 0 or 1; None lets the model draw it |
    | scale | | N/B |
    | user_weight, item_weight | (B,) | (N/B) / n: summed over the batch, each user's and item's share as in `weight` |
    | score | (B,) | given score of each interaction, where the data have one |
    | affinity | (B,) | x - b0 of each interaction, where vectors are held fixed and it is known already |
    """

    user: Tensor
    item: Tensor
    cell: Tensor
    slot: Tensor
    weight: Tensor
    label: Tensor | None
    scale: float
    user_weight: Tensor
    item_weight: Tensor
    score: Tensor | None = None
    affinity: Tensor | None = None


class Rows:
    """Interactions as tensors, ready to be cut into batches.

    Args:
        events: the interactions.
        index: `(N,)` positions of the rows to hold, in the order in which they are kept.
        score: `(len(events),)` given affinity of every interaction, or None.
        device: where batches live.
    """

    def __init__(
        self, events: Interactions, index: np.ndarray, *, score: np.ndarray | None = None, device: str = "cpu"
    ) -> None:
        self.periods = events.periods
        user, cell = events.user[index], events.cell[index]
        label = None if events.label is None else events.label[index]
        columns = [user, cell] if label is None else [user, cell, label]
        # one packed row an interaction: a batch at random places then costs one cache miss a row
        self._table = torch.from_numpy(np.stack([column.astype(np.int32) for column in columns], axis=1)).to(device)
        self._labelled = label is not None
        self._known = {} if score is None else {"score": torch.from_numpy(score[index]).to(device)}
        self.cell_count = self._counts(cell, events.cells, device)
        self._user_count = self._counts(user, len(events.users), device)
        self._item_count = self.cell_count.reshape(-1, self.periods).sum(1)

    @staticmethod
    def _counts(codes: np.ndarray, size: int, device: str) -> Tensor:
        return torch.from_numpy(np.bincount(codes, minlength=size)).to(device, torch.float64)

    def __len__(self) -> int:
        return len(self._table)

    def with_affinity(self, affinity: Tensor) -> "Rows":
        """Return the same rows with their affinities less b0, `(N,)`, known."""
        rows = copy.copy(self)
        rows._known = {"affinity": affinity}
        return rows

    def batch(self, index: Tensor) -> Batch:
        """Return the batch of some rows, `(B,)` positions among the rows held."""
        table = self._table.index_select(0, index).long()
        cell, slot, count = self._distinct(table[:, 1])
        scale = len(self) / len(index)
        weight = scale * count / self.cell_count[cell]
        return self._finish(table, index, cell=cell, slot=slot, weight=weight, scale=scale)

    def whole(self, *, every_cell: bool = False) -> Batch:
        """Return all rows as one batch; with `every_cell` also the cells without rows, all of weight 1."""
        table = self._table.long()
        index = torch.arange(len(self), device=table.device)
        if every_cell:
            cell, slot = torch.arange(len(self.cell_count), device=table.device), table[:, 1]
        else:
            cell, slot, _ = self._distinct(table[:, 1])
        weight = torch.ones(len(cell), dtype=torch.float64, device=table.device)
        return self._finish(table, index, cell=cell, slot=slot, weight=weight, scale=1.0)

    def _finish(
        self, table: Tensor, index: Tensor, *, cell: Tensor, slot: Tensor, weight: Tensor, scale: float
    ) -> Batch:
        user, cell_of_row = table[:, 0], table[:, 1]
        item = cell_of_row if self.periods == 1 else cell_of_row // self.periods
        return Batch(
            user=user,
            item=item,
            cell=cell,
            slot=slot,
            weight=weight,
            label=table[:, 2].double() if self._labelled else None,
            scale=scale,
            user_weight=scale / self._user_count.index_select(0, user),
            item_weight=scale / self._item_count.index_select(0, item),
            **{name: column.index_select(0, index) for name, column in self._known.items()},
        )

    def _distinct(self, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return distinct cells `(D,)`, each row's position among them `(B,)`, and their counts `(D,)`."""
        size = len(self.cell_count)
        if size > 4 * len(cell):  # few rows, many cells: sort the rows
            return torch.unique(cell, return_inverse=True, return_counts=True)
        count = torch.bincount(cell, minlength=size)
        present = count > 0
        distinct = present.nonzero().squeeze(-1)
        position = present.cumsum(0) - 1
        return distinct, position.index_select(0, cell), count.index_select(0, distinct)

    def batches(self, batch_size: int, *, seed: int, epoch: int) -> Iterator[Batch]:
        """Yield the batches of one epoch: every row once, sizes that differ by one at most.

        Args:
            batch_size: upper bound of a batch's rows.
            seed: with `epoch`, decides the order.
            epoch: counted from 0.
        """
        total = len(self)
        order = np.random.default_rng((seed, epoch))
        offset = int(order.integers(total))
        stride = int(order.integers(1, total + 1))
        while math.gcd(stride, total) != 1:
            stride = stride % total + 1
        number = -(-total // batch_size)
        for k in range(number):
            position = torch.arange(total * k // number, total * (k + 1) // number, device=self._table.device)
            yield self.batch((offset + stride * position) % total)

    def blocks(self, size: int) -> Iterator[Batch]:
        """Yield all rows in their order, `size` at a time, for evaluation."""
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self)), device=self._table.device))
