"""Batches of training rows: each has a user and some items, of which the first comes from the log."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from .log import Log

Draw = Literal["rows", "users"]
Against = Literal["uniform", "popular"]
REDRAWS = 4  # of a negative that is one of the user's positives; a user may have positives of all items


@dataclass(frozen=True)
class Batch:
    """Rows that are trained on together.

    Attributes:
        row: `(B,)` positions in the log.
        user: `(B,)` codes.
        item: `(B, W)` codes; the first of each row comes from the log, the others are negatives.
        label: `(B, W)` 0 or 1, float32.
    """

    row: Tensor
    user: Tensor
    item: Tensor
    label: Tensor


@dataclass(frozen=True)
class ByUser:
    """Items in the order of their users.

    Attributes:
        row: `(M,)` positions in the log.
        item: `(M,)` codes.
        first: `(users,)` where each user's begin.
        number: `(users,)` how many each user has.
    """

    row: Tensor
    item: Tensor
    first: Tensor
    number: Tensor

    @classmethod
    def from_rows(cls, log: Log, rows: np.ndarray) -> "ByUser":
        """Sort rows of a log by user."""
        rows = rows[np.argsort(log.user[rows], kind="stable")]
        number = np.bincount(log.user[rows], minlength=log.users)
        each = (rows, log.item[rows], np.cumsum(number) - number, number)
        return cls(*(torch.as_tensor(values, dtype=torch.int64) for values in each))

    def choose(self, user: Tensor, chance: Tensor) -> Tensor:
        """Return one position among each user's own, uniformly, `chance` being uniform in [0, 1)."""
        number = self.number.index_select(0, user)
        turn = torch.minimum((chance * number).long(), (number - 1).clamp(min=0))
        return (self.first.index_select(0, user) + turn).clamp(max=max(len(self.item) - 1, 0))


@final
class Sampler:
    """Draws the positives of an epoch, and negatives for them.

    Positives come in random order, each once ("rows"), or from users drawn uniformly ("users", as in PDA and MACR).
    Negatives are items of which the user has no positive, uniformly, or as often as they are positives ("popular", as in
    implicit's BPR: popular items then win no more pairs than they lose); in a labelled log, the user's own rows of label 0, items
    that the user is known to have seen.
    """

    def __init__(self, log: Log, *, draw: Draw, seed: int, against: Against = "uniform") -> None:
        self.items = log.items
        self.draw, self.against = draw, against
        self.generator = torch.Generator().manual_seed(seed)
        self.user, self.item = (torch.as_tensor(each, dtype=torch.int64) for each in (log.user, log.item))
        self.label = None if log.label is None else torch.as_tensor(log.label, dtype=torch.float32)
        self.positives = ByUser.from_rows(log, log.positive)
        self.active = torch.nonzero(self.positives.number).squeeze(1)
        seen = np.empty(0, dtype=np.int64) if log.label is None else np.flatnonzero(log.label == 0)
        self.zeros = ByUser.from_rows(log, seen)
        pairs = log.user[log.positive].astype(np.int64) * log.items + log.item[log.positive]
        self.known = torch.as_tensor(np.unique(pairs))

    def uniform(self, *shape: int) -> Tensor:
        """Return uniform numbers in [0, 1)."""
        return torch.rand(shape, generator=self.generator)

    def positive_rows(self) -> Tensor:
        """Return positions in the log of an epoch's positives, `(P,)`."""
        number = len(self.positives.row)
        if self.draw == "rows":
            chosen = torch.randperm(number, generator=self.generator)
        else:
            user = self.active[torch.randint(len(self.active), (number,), generator=self.generator)]
            chosen = self.positives.choose(user, self.uniform(number))
        return self.positives.row.index_select(0, chosen)

    def is_known(self, user: Tensor, item: Tensor) -> Tensor:
        """Return whether pairs are positives of the log, in the shape of `item`.

        Args:
            user: codes, of the shape of `item`.
            item: codes.
        """
        pair = user * self.items + item
        place = torch.searchsorted(self.known, pair).clamp(max=len(self.known) - 1)
        return self.known[place] == pair

    def any_items(self, shape: tuple[int, ...]) -> Tensor:
        """Return items, whether or not they are positives of some user."""
        if self.against == "uniform":
            return torch.randint(self.items, shape, generator=self.generator)
        return self.positives.item[torch.randint(len(self.positives.item), shape, generator=self.generator)]

    def negatives(self, user: Tensor, number: int) -> Tensor:
        """Return negatives of each user, `(B, number)`."""
        each = user[:, None].expand(-1, number)
        item = self.any_items(each.shape)
        for _ in range(REDRAWS):
            again = torch.nonzero(self.is_known(each, item), as_tuple=True)
            item[again] = self.any_items(again[0].shape)
        if not len(self.zeros.item):
            return item
        own = self.zeros.item[self.zeros.choose(each.reshape(-1), self.uniform(each.numel()))].view_as(item)
        return torch.where(self.zeros.number.index_select(0, user)[:, None] > 0, own, item)

    def labelled_rows(self, size: int) -> Iterator[Batch]:
        """Yield all rows of a labelled log in random order, without negatives."""
        assert self.label is not None
        for row in torch.randperm(len(self.user), generator=self.generator).split(size):
            user, item, label = (each.index_select(0, row) for each in (self.user, self.item, self.label))
            yield Batch(row, user, item[:, None], label[:, None])

    def with_negatives(self, row: Tensor, negative: Tensor, size: int) -> Iterator[Batch]:
        """Yield positives, each with its negatives.

        Args:
            row: `(P,)` positions in the log.
            negative: `(P, n)` item codes.
            size: B.
        """
        user = self.user.index_select(0, row)
        item = torch.cat([self.item.index_select(0, row)[:, None], negative], 1)
        label = torch.zeros(item.shape)
        label[:, 0] = 1
        for each in zip(*(values.split(size) for values in (row, user, item, label)), strict=True):
            yield Batch(*each)
