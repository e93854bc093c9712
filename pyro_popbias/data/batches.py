"""Training rows as tensors, and the batches that are sliced from them.

An epoch visits every row once, without a permutation: rows are stored in random order, and epoch e
reads them with a random stride and offset, row (offset + stride k) mod N for k = 0..N-1. So neither a step nor an epoch
ever draws a permutation of all rows. With sampled negatives the rows held are positives, and every batch draws its own
negatives: the positives come first, then m negatives of the first, m of the second, and so on.
"""

import copy
import math
from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from pyro_popbias.data.batch import Batch
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.negatives import Negatives

Latent = Literal["item", "interaction"]
BatchCells = Literal["of batch", "of items", "all"]


def _of_one(total: Tensor) -> Tensor:
    return total


class TrainingBatches:
    """Interactions as tensors, ready to be cut into batches: all of a log, or the share of one of several processes.

    The scale and the weights of a share's batches are those of the whole log times the number of shares, so that the mean
    over processes of their losses estimates the whole loss, terms that each of them has once included.

    Args:
        events: the interactions.
        index: `(N,)` positions of the rows to hold, in the order in which they are kept.
        score: `(len(events),)` given affinity of every interaction, or None.
        negatives: what draws negatives for the rows held, which are positives then; None takes the data's labels.
        latent: "item" gives the rows of a cell one popularity, "interaction" gives every row its own.
        cells: whether a batch has the cells of its rows, or all cells of its rows' items, where periods depend on each other,
            or all cells, each of weight 1, for guides that draw all together.
        device: where batches live.

    Attributes:
        keeps_affinities: whether what is known of each row may be kept beside it.
        shares: number of processes that the rows are shared among.
        stream: what tells the random numbers of a share from those of others; empty where there is one.
        total: from a tensor of sums over the rows held to the sums over all shares.
    """

    keeps_affinities: ClassVar[bool] = True

    def __init__(
        self,
        events: Interactions,
        index: np.ndarray,
        *,
        score: np.ndarray | None = None,
        negatives: Negatives | None = None,
        latent: Latent = "item",
        cells: BatchCells = "of batch",
        device: str = "cpu",
    ) -> None:
        self.periods, self.latent, self._cells = events.periods, latent, cells
        self._negatives, self._draws = negatives, 1
        self._hold_all(len(index))
        user, cell, period = events.user[index], events.cell[index], events.period[index]
        given = None if negatives is not None else events.label
        label = np.ones(len(index)) if given is None else given[index]
        # one packed row per interaction: a batch at random positions then costs one cache miss per row
        columns = [column.astype(np.int32) for column in (user, cell, label)]
        self._table = torch.from_numpy(np.stack(columns, axis=1)).to(device)
        self._known = {} if score is None else {"score": torch.from_numpy(score[index]).to(device)}
        cell_count = np.bincount(cell, minlength=events.cells).astype(np.float64)
        user_count = np.bincount(user, minlength=len(events.users)).astype(np.float64)
        if negatives is not None:
            cell_count += negatives.expected(user, period)
            user_count *= 1 + negatives.number
        self._set_counts(cell_count, user_count, device)

    def _set_counts(self, cell_count: np.ndarray, user_count: np.ndarray, device: str) -> None:
        """Set how often each cell `(C,)`, user and item is in an epoch, on average."""
        self.cell_count, self.user_count = (torch.from_numpy(part).to(device) for part in (cell_count, user_count))
        self.item_count = self.cell_count.reshape(-1, self.periods).sum(1)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def has_whole_items(self) -> bool:
        """Whether a batch has all cells of its rows' items."""
        return self._cells == "of items"

    def _hold_all(self, number: int) -> None:
        """Take note that these are all rows, and not a share of them."""
        self.shares, self._of_all = 1, number
        self.stream: tuple[int, ...] = ()
        self.total: Callable[[Tensor], Tensor] = _of_one
        self._turn = 0, 1  # which of how many blocks

    @property
    def negatives(self) -> int:
        """Negatives drawn for each row held."""
        return 0 if self._negatives is None else self._negatives.number

    def steps(self, batch_size: int) -> int:
        """Return the number of batches of an epoch, the same in all shares.

        Args:
            batch_size: upper bound of the rows of a batch of all shares together, sampled negatives included.
        """
        return -(-self._of_all // max(1, batch_size // (1 + self.negatives)))

    def share(
        self, items: np.ndarray, *, number: int, shares: int, total: Callable[[Tensor], Tensor]
    ) -> "TrainingBatches":
        """Return the rows of some items, with the counts of all rows.

        Args:
            items: `(K,)` whether an item's rows belong to the share.
            number: of the share, from 0.
            shares: how many there are.
            total: adds sums over shares.
        """
        rows, own = copy.copy(self), torch.from_numpy(items).to(self._table.device)
        index = own.index_select(0, self._table[:, 1] // self.periods).nonzero().squeeze(-1)
        rows._table = self._table.index_select(0, index)
        rows._known = {name: column.index_select(0, index) for name, column in self._known.items()}
        rows.shares, rows.stream, rows.total = shares, (number,), total
        return rows

    def of_items(self, items: np.ndarray) -> "TrainingBatches":
        """Return the rows of some items, `(K,)` booleans, with the counts of these rows; without sampled negatives."""
        rows = self.share(items, number=0, shares=1, total=_of_one)
        rows._hold_all(len(rows))
        user, cell, _ = rows._table.cpu().numpy().T
        sizes = (cell, len(self.cell_count)), (user, len(self.user_count))
        of_cell, of_user = (np.bincount(code, minlength=size).astype(np.float64) for code, size in sizes)
        rows._set_counts(of_cell, of_user, str(rows._table.device))
        return rows

    def in_turns(self, *, number: int, shares: int, total: Callable[[Tensor], Tensor]) -> "TrainingBatches":
        """Return the same rows, of whose blocks every process yields its own, with the negatives that one process draws.

        Args:
            number: of the process, from 0.
            shares: how many there are.
            total: adds sums over processes.
        """
        rows = copy.copy(self)
        rows._turn, rows.total = (number, shares), total
        return rows

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over shares of what each of them estimates of the whole log."""
        return self.total(value) / self.shares

    def codes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return user, item and label of the rows held, `(N,)` each."""
        user, cell, label = self._table.cpu().numpy().T
        return user, cell // self.periods, label

    def with_affinity(self, affinity: Tensor, spread: Tensor | None) -> "TrainingBatches":
        """Return the same rows with their affinities less b0, `(N,)`, known, and perhaps the standard deviations."""
        rows = copy.copy(self)
        rows._known = {"affinity": affinity} if spread is None else {"affinity": affinity, "affinity_spread": spread}
        return rows

    def with_draws(self, draws: int) -> "TrainingBatches":
        """Return the same rows with up to `draws` draws of popularity per cell and batch.

        The ELBO is a sum of expectations over rows, so the rows of a cell may each use a draw of their own: the gradient
        is less noisy at the same number of likelihood evaluations.
        """
        rows = copy.copy(self)
        rows._draws = draws
        return rows

    def batch(self, index: Tensor, *, stream: tuple[int, ...] = (0,)) -> Batch:
        """Return the batch of some rows.

        Args:
            index: `(B,)` positions among the rows held.
            stream: decides the negatives.
        """
        table = self._table.index_select(0, index).long()
        known = {name: column.index_select(0, index) for name, column in self._known.items()}
        return self._finish(self._extend(table, stream), known, scale=self.shares * len(self) / len(index))

    def whole(self) -> Batch:
        """Return all rows as one batch."""
        return self._finish(self._extend(self._table.long(), (0,)), self._known, scale=float(self.shares))

    def _extend(self, table: Tensor, stream: tuple[int, ...]) -> Tensor:
        """Return rows of user, cell and label, `(B, 3)`, with their negatives after them: `(B (1 + m), 3)`."""
        if self._negatives is None:
            return table
        item = self._negatives.draw(table[:, 0], np.random.default_rng(stream))
        user, cell, _ = table.repeat_interleave(self._negatives.number, dim=0).unbind(1)
        # a negative is as popular as it was when the positive was chosen
        negative = torch.stack([user, item * self.periods + cell % self.periods, torch.zeros_like(user)], dim=1)
        return torch.cat([table, negative])

    def _finish(self, table: Tensor, known: dict[str, Tensor], *, scale: float) -> Batch:
        user, cell_of_row = table[:, 0], table[:, 1]
        item = cell_of_row if self.periods == 1 else cell_of_row // self.periods
        if self._cells == "all":
            cell, cell_index = torch.arange(len(self.cell_count), device=table.device), cell_of_row
            weight = torch.ones(len(cell), dtype=torch.float64, device=table.device)
        elif self._cells == "of items":
            cell, cell_index, weight = self._chains(item, cell_of_row, scale)
        elif self.latent == "item":
            cell, cell_index, count = self._drawn(cell_of_row, len(self.cell_count), self._draws)
            weight = scale * count / self.cell_count[cell]
        else:
            cell, cell_index = cell_of_row, torch.arange(len(table), device=table.device)
            weight = torch.full((len(table),), scale, dtype=torch.float64, device=table.device)
        return Batch(
            user=user,
            item=item,
            cell=cell,
            cell_index=cell_index,
            weight=weight,
            label=table[:, 2].double(),
            scale=scale,
            user_weight=scale / self.user_count.index_select(0, user),
            item_weight=scale / self.item_count.index_select(0, item),
            offset=None if self._negatives is None else self._negatives.log_odds_offset(user, item),
            negatives=self.negatives,
            draws=self._draws,
            **known,
        )

    def _chains(self, item: Tensor, cell_of_row: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return all cells of the rows' items `(D,)`, each row's position among them `(B,)`, and their weights `(D,)`."""
        periods = torch.arange(self.periods, device=item.device)
        # several draws of all periods only where they are about as many as the rows
        draws = min(self._draws, max(1, len(item) // (self.periods * len(item.unique())))) if self._draws > 1 else 1
        code, chain, count = self._drawn(item, len(self.item_count), draws)
        cell = (code.unsqueeze(-1) * self.periods + periods).reshape(-1)
        weight = (scale * count / self.item_count[code]).repeat_interleave(self.periods)
        return cell, chain * self.periods + cell_of_row % self.periods, weight

    @classmethod
    def _drawn(cls, code: Tensor, size: int, draws: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the code of each draw `(D,)`, each row's position among them `(B,)`, and their counts `(D,)`.

        Args:
            code: `(B,)` cell or item of each row.
            size: number of codes that there are.
            draws: the largest number of draws of a code.
        """
        if draws == 1:
            return cls._distinct(code, size)
        part = torch.arange(len(code), device=code.device) % draws
        found, index, count = cls._distinct(code * draws + part, size * draws)
        return found // draws, index, count

    @staticmethod
    def _distinct(code: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return distinct codes `(D,)`, each row's position among them `(B,)`, and their counts `(D,)`."""
        if size > 4 * len(code):  # few rows, many codes: sort the rows
            return torch.unique(code, return_inverse=True, return_counts=True)
        count = torch.bincount(code, minlength=size)
        present = count > 0
        distinct = present.nonzero().squeeze(-1)
        position = present.cumsum(0) - 1
        return distinct, position.index_select(0, code), count.index_select(0, distinct)

    def batches(self, batch_size: int, *, seed: int, epoch: int) -> Iterator[Batch]:
        """Yield the batches of one epoch: every row held once, sizes that differ by one at most.

        Args:
            batch_size: upper bound of a batch's rows, sampled negatives included; of a share's batch times their number.
            seed: with `epoch`, decides the order and the negatives.
            epoch: counted from 0.
        """
        total = len(self)
        order = np.random.default_rng((seed, epoch, *self.stream))
        offset = int(order.integers(total))
        stride = int(order.integers(1, total + 1))
        while math.gcd(stride, total) != 1:
            stride = stride % total + 1
        number = self.steps(batch_size)
        for k in range(number):
            position = torch.arange(total * k // number, total * (k + 1) // number, device=self._table.device)
            yield self.batch((offset + stride * position) % total, stream=(seed, epoch, k, *self.stream))

    def blocks(self, size: int) -> Iterator[Batch]:
        """Yield all rows held, or this process's turns of them, in order, about `size` at a time; negatives are the same ones."""
        size = max(1, size // (1 + self.negatives))
        number, shares = self._turn
        for start in range(number * size, len(self), shares * size):
            index = torch.arange(start, min(start + size, len(self)), device=self._table.device)
            yield self.batch(index, stream=(start,))
