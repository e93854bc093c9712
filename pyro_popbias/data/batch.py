"""A batch: what a Pyro program sees of some interactions, and of the cells, users and items that they belong to."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class UniqueIds:
    """The distinct users, or items, of a batch.

    | field | shape | meaning |
    | --- | --- | --- |
    | code | (G,) | distinct codes |
    | cell_index | (B,) | position of each interaction's code in `code` |
    | weight | (G,) | how often each is in the batch over how often in the data, times N/B |
    """

    code: Tensor
    cell_index: Tensor
    weight: Tensor

    @classmethod
    def of(cls, codes: Tensor, weight: Tensor) -> "UniqueIds":
        """Return the distinct codes of interactions, with the sums of their weights `(B,)`."""
        code, cell_index = torch.unique(codes, return_inverse=True)
        return cls(
            code,
            cell_index,
            torch.zeros(len(code), dtype=weight.dtype, device=weight.device).index_add(0, cell_index, weight),
        )


@dataclass(frozen=True)
class CellDraws:
    """The distinct cells of a batch, which may have several draws each.

    | field | shape | meaning |
    | --- | --- | --- |
    | code | (G,) | distinct cells |
    | first | (G,) | position of one draw of each |
    | index | (D,) | position of each draw's cell in `code` |
    """

    code: Tensor
    first: Tensor
    index: Tensor


@dataclass(frozen=True)
class Batch:
    """Some interactions and their cells; B interactions, D draws of popularity, N rows in all.

    For a guide that draws all cells together every batch has them all, each of weight 1. Where the cells of an item depend on
    each other it has all cells of its rows' items, item by item, with the weight of their item.

    | field | shape | meaning |
    | --- | --- | --- |
    | user, item | (B,) | codes of each interaction |
    | cell | (D,) | (item, period) cells, item * periods + period: distinct, but where a cell has several draws |
    | cell_index | (B,) | position of each interaction's draw in `cell` |
    | weight | (D,) | (N/B) b_j / n_j: how often cell j is in the batch over how often in an epoch, on average |
    | label | (B,) | 0 or 1; None lets the model draw it |
    | scale | | N/B |
    | user_weight, item_weight | (B,) | (N/B) / n: summed over the batch, each user's and item's share as in `weight` |
    | score | (B,) | given score of each interaction, where the data have one |
    | affinity | (B,) | x - b0 of each interaction, where vectors are held fixed and it is known already |
    | affinity_spread | (B,) | its standard deviation, where vectors are Bayesian |
    | conformity | (B,) | mean of d_u of each interaction's user, where it is known already |
    | offset | (B,) | what the draw of negatives adds to the log odds of each label, where it is not uniform |
    | negatives | | m, sampled negatives per positive; 0 where labels are the data's own |
    | draws | | upper bound of the draws of a cell |
    """

    user: Tensor
    item: Tensor
    cell: Tensor
    cell_index: Tensor
    weight: Tensor
    label: Tensor | None
    scale: float
    user_weight: Tensor
    item_weight: Tensor
    score: Tensor | None = None
    affinity: Tensor | None = None
    affinity_spread: Tensor | None = None
    conformity: Tensor | None = None
    offset: Tensor | None = None
    negatives: int = 0
    draws: int = 1

    @property
    def positives(self) -> int:
        """Number of leading rows that are positives, where negatives are sampled."""
        return len(self.user) // (1 + self.negatives)

    @cached_property
    def cells(self) -> CellDraws:
        """Distinct cells."""
        every = torch.arange(len(self.cell), device=self.cell.device)
        if self.draws == 1:
            return CellDraws(self.cell, every, every)
        code, index = self.cell.unique(return_inverse=True)
        return CellDraws(code, torch.empty_like(code).scatter_(0, index, every), index)

    @cached_property
    def users(self) -> UniqueIds:
        """Distinct users."""
        return UniqueIds.of(self.user, self.user_weight)

    @cached_property
    def items(self) -> UniqueIds:
        """Distinct items."""
        return UniqueIds.of(self.item, self.item_weight)
