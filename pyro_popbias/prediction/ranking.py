"""What orders all items of a user by their scores, and finds the best without scoring all of them where that can be known."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from pyro_popbias.models import AffinityDistribution
from pyro_popbias.models.affinities.affinity import Affinity
from pyro_popbias.models.affinities.distribution import Deviation
from pyro_popbias.models.affinities.latents import Weights
from pyro_popbias.models.conformity import SITE as CONFORMITY
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
        by_user: from codes of users `(U,)` to what takes rows of these `(n,)` and affinities `(n, ...)` to scores, where
            users differ in `probability`; None where they do not.
        of_users: from affinities `(U, ...)` of users `(U,)` and the weights to the same with what users differ in besides,
            conformity and calibration; None where they do not. Under one popularity for all items a user's scores still
            increase with x.
        without: `(n,)` codes of items that no list holds; None leaves none out.
    """

    affinity: Affinity
    weights: Weights
    probability: Callable[[Tensor], Tensor] | None
    own: Callable[[AffinityDistribution], Tensor]
    items: int
    device: torch.device
    by_user: Callable[[Tensor], Callable[[Tensor, Tensor], Tensor]] | None = None
    of_users: Callable[[AffinityDistribution, Tensor, Weights], AffinityDistribution] | None = None
    without: Tensor | None = None

    @property
    def by_mean(self) -> bool:
        """Whether the order is that of the means of affinities."""
        of_affinity = self.weights.keys() - {CONFORMITY}
        equal = not of_affinity or (self.affinity.ranks_by_mean and self.affinity.item_quality is None)
        return self.probability is not None and equal

    def scores(self, user: Tensor) -> Tensor:
        """Return numbers in the order of the scores of some users with all items, `(U, K)` to be changed freely."""
        if self.by_mean:
            return self.affinity.order(user, self.weights)
        affinity = self._table(user)
        if self.probability is None or self.of_users is not None:
            return self.own(affinity)
        return expected(affinity, self.probability)

    def _table(self, user: Tensor) -> AffinityDistribution:
        """Return x_ui of users with all items, `(U, K)`, with what users differ in besides."""
        affinity = self.affinity.table(user, self.weights)
        return affinity if self.of_users is None else self.of_users(affinity, user, self.weights)

    def leave_out(self, score: Tensor, seen: sparse.csr_array | None) -> None:
        """Set scores of what users have seen, and of what no list holds, to -inf.

        Args:
            score: `(U, K)`; it is changed.
            seen: `(U, K)` what to leave out.
        """
        leave_out(score, seen)
        if self.without is not None:
            score[:, self.without] = -torch.inf

    def scores_of_means(self, user: Tensor) -> Tensor:
        """Return numbers in the order of the scores that the means of affinities have, `(U, K)` to be changed freely."""
        if self.probability is not None:
            return self.affinity.order(user, self.weights)
        affinity = self._table(user)
        d = affinity.conformity
        at_mean = None if d is None else Deviation(d.mean, torch.zeros_like(d.variance))
        return self.own(replace(affinity, variance=None, conformity=at_mean))

    @torch.no_grad()
    def lists(self, users: np.ndarray, k: int, seen: sparse.csr_array | None) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Yield, block after block, users and their best items, best first, `(U, k)` codes; `NOTHING` where there are no more.

        Args:
            users: codes.
            k: length of the lists.
            seen: `(users, items)` what to leave out.
        """
        user, k = torch.from_numpy(users.astype(np.int64)).to(self.device), min(k, self.items)
        bounds = None
        if self.probability is not None and not self.by_mean and (self.of_users is None or self.by_user is not None):
            bounds = self.affinity.variance_range(user, self.weights)
        start = 0
        for block in user_blocks(users, self.items):
            rows = slice(start, start + len(block))
            start += len(block)
            without = None if seen is None else seen[block]
            if bounds is None:
                score = self.scores(user[rows])
                self.leave_out(score, without)
                best, column = best_items(score, k, None)
            else:
                least, most = (end[rows] for end in bounds)
                best, column = self._best_expectations(user[rows], k, without, least, most)
            yield block, torch.where(best > -torch.inf, column, NOTHING)

    def _best_expectations(
        self, user: Tensor, k: int, seen: sparse.csr_array | None, least: Tensor, most: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the best scores of a block and their items, by means and by what variances can do at most."""
        order = self.affinity.order(user, self.weights)
        self.leave_out(order, seen)
        assert self.probability is not None  # noqa: S101  there are bounds only then
        found = Expectations(
            lambda row, item: self.affinity.among(user[row], item, self.weights),
            lambda row: self.affinity.table(user[row], self.weights),
            self.probability,
            least,
            most,
            None if self.by_user is None else self.by_user(user),
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
