"""What orders all items of a user by their scores, and finds the best without scoring all of them where that can be known."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from pyro_popbias.models import AffinityDistribution
from pyro_popbias.models.affinities.affinity import Affinity
from pyro_popbias.models.affinities.latents import Weights
from pyro_popbias.prediction.best_expectations import Expectations, expected
from pyro_popbias.prediction.best_items import best_items, leave_out, user_blocks

NOTHING = -1  # the item code of a place that no item fills
BATCH = 50_000  # places of lists that are scored at a time, by a thousand small steps whatever their number


@dataclass(frozen=True)
class Ranking:
    """The order of all items under one affinity and one popularity.

    Attributes:
        affinity: x_ui.
        weights: q of each of its sites, whole tables.
        probability: from affinities to scores, increasing, where it is the same for all items; None where each item has its
            own.
        own: from affinities `(U, K)` to scores, where each item has its own.
        items: K.
        device: where the affinity is.
    """

    affinity: Affinity
    weights: Weights
    probability: Callable[[Tensor], Tensor] | None
    own: Callable[[AffinityDistribution], Tensor]
    items: int
    device: torch.device

    @property
    def by_mean(self) -> bool:
        """Whether the order is that of the means of affinities."""
        equal = not self.weights or (self.affinity.ranks_by_mean and self.affinity.item_quality is None)
        return self.probability is not None and equal

    def scores(self, user: Tensor) -> Tensor:
        """Return numbers in the order of the scores of some users with all items, `(U, K)` to be changed freely."""
        if self.by_mean:
            return self.affinity.order(user, self.weights)
        affinity = self.affinity.table(user, self.weights)
        return self.own(affinity) if self.probability is None else expected(affinity, self.probability)

    def scores_of_means(self, user: Tensor) -> Tensor:
        """Return numbers in the order of the scores that the means of affinities have, `(U, K)` to be changed freely."""
        if self.probability is not None:
            return self.affinity.order(user, self.weights)
        return self.own(AffinityDistribution(self.affinity.table(user, self.weights).mean))

    @torch.no_grad()
    def lists(self, users: np.ndarray, k: int, seen: sparse.csr_array | None) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Yield, block after block, users and their best items, best first, `(U, k)` codes; `NOTHING` where there are no more.

        Args:
            users: codes.
            k: length of the lists.
            seen: `(users, items)` what to leave out.
        """
        user, k = torch.from_numpy(users.astype(np.int64)).to(self.device), min(k, self.items)
        bounds = None if self.by_mean or self.probability is None else self.affinity.variance_range(user, self.weights)
        start = 0
        for block in user_blocks(users, self.items):
            rows = slice(start, start + len(block))
            start += len(block)
            without = None if seen is None else seen[block]
            if bounds is None:
                best, column = best_items(self.scores(user[rows]), k, without)
            else:
                least, most = (end[rows] for end in bounds)
                best, column = self._best_expectations(user[rows], k, without, least, most)
            yield block, torch.where(best > -torch.inf, column, NOTHING)

    def _best_expectations(
        self, user: Tensor, k: int, seen: sparse.csr_array | None, least: Tensor, most: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the best scores of a block and their items, by means and by what variances can do at most."""
        order = self.affinity.order(user, self.weights)
        leave_out(order, seen)
        assert self.probability is not None  # noqa: S101  there are bounds only then
        found = Expectations(
            lambda row, item: self.affinity.among(user[row], item, self.weights),
            lambda row: self.affinity.table(user[row], self.weights),
            self.probability,
            least,
            most,
        )
        return found.best(order, k)


def in_batches(lists: Iterator[tuple[np.ndarray, Tensor]]) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield users and their lists as they come, several blocks at a time."""
    blocks, columns, places = [], [], 0
    for block, column in lists:
        blocks.append(block)
        columns.append(column)
        places += column.numel()
        if places >= BATCH:
            yield np.concatenate(blocks), torch.cat(columns)
            blocks, columns, places = [], [], 0
    if blocks:
        yield np.concatenate(blocks), torch.cat(columns)
