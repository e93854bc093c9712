"""The items of highest expected score where affinities have variances that differ: exact, without scoring every item.

The score E[p(x)] of x ~ Normal(m, v), with p increasing, increases with m but not with v. Where the variances of a user's
items lie between a and b, no item of mean m can score more than

    E[p(m + e (sqrt(b) if e > 0 else sqrt(a)))],    e standard normal,

since e is multiplied by what makes the most of its sign. So the items of highest means are scored, and once the k-th best
of them is above this bound at the lowest of their means, no other item can be better. The bound is close where a and b are:
it is taken in intervals of variances, and the largest counts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pyro_popbias.models import AffinityDistribution
from pyro_popbias.models.affinities.distribution import NODES
from pyro_popbias.prediction.best_items import best_items, largest

FIRST = 128  # items of highest mean that are scored first, at least
GROWTH = 4  # how many times as many are scored where these do not suffice
LAST_SHARE = 8  # all items are scored where an eighth of them is too few
INTERVALS = 16  # of the variances
ROUNDING = 1e-5  # of means in float32, in logits, and of logarithms of variances
LEAST_MEAN = -1e6  # in place of -inf, which would be NaN


@dataclass(frozen=True)
class Expectations:
    """What scores the items of a block of users.

    Attributes:
        among: from rows of the block `(n,)` and items `(n, M)` to their affinities `(n, M)`.
        table: from rows of the block `(n,)` to their affinities with all items, `(n, K)`.
        probability: p, from affinities to scores, increasing.
        least: `(U,)` variances of affinities are at least this.
        most: `(U,)` and at most this.
        of_rows: from rows of the block `(n,)` and their affinities `(n, ...)` to scores, in place of p where users have each
            their own.
    """

    among: Callable[[Tensor, Tensor], AffinityDistribution]
    table: Callable[[Tensor], AffinityDistribution]
    probability: Callable[[Tensor], Tensor]
    least: Tensor
    most: Tensor
    of_rows: Callable[[Tensor, Tensor], Tensor] | None = None

    def best(self, order: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the highest scores of each row and their columns, `(U, k)` each, as `best_items` does.

        Args:
            order: `(U, K)` in the order of the means and as far apart, and -inf for what to leave out.
            k: at most K.
        """
        row = torch.arange(len(order), device=order.device)
        best = order.new_empty((len(row), k), dtype=torch.float64)
        column = row.new_empty(best.shape)
        for number in _numbers(k, order.shape[1]):
            rest = order if len(row) == len(order) else order.index_select(0, row)
            best[row], column[row], lowest = self._among(row, rest, k, number)
            # nothing is left out of the candidates where the lowest is -inf, and NaN is above nothing
            row = row[~((best[row, -1] > self._at_most(row, lowest)) | (lowest == -torch.inf))]
            if not len(row):
                return best, column
        score = expected(self.table(row), self._of(row))
        score[order.index_select(0, row) == -torch.inf] = -torch.inf
        best[row], column[row] = best_items(score, k, None)
        return best, column

    def _of(self, row: Tensor) -> Callable[[Tensor], Tensor]:
        """Return p of some rows of the block."""
        return self.probability if self.of_rows is None else partial(self.of_rows, row)

    def _among(self, row: Tensor, order: Tensor, k: int, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the highest scores among items of highest mean and these items, `(n, k)`, and the lowest of the means, `(n,)`.

        Args:
            row: `(n,)` rows of the block.
            order: `(n, K)` of these rows.
            k: length of the lists.
            number: of items of highest mean, at least k.
        """
        value, item = largest(order, number, falling=False)
        item, place = item.sort(dim=1)  # so that of equal scores the lower code is the first
        value = value.gather(1, place)
        affinity = self.among(row, item)
        score = expected(affinity, self._of(row))
        score[value == -torch.inf] = -torch.inf
        best, place = best_items(score, k, None)
        lowest = torch.where(value == -torch.inf, -torch.inf, affinity.mean).amin(1)
        return best, item.gather(1, place), lowest

    def _at_most(self, row: Tensor, mean: Tensor) -> Tensor:
        """Return what no item of at most some mean scores more than, `(n,)`.

        Args:
            row: `(n,)` rows of the block.
            mean: `(n,)`.
        """
        nodes, weights = (torch.from_numpy(part).to(mean) for part in np.polynomial.hermite_e.hermegauss(NODES))
        low = self.least[row].clamp(min=torch.finfo(mean.dtype).tiny).log() - ROUNDING
        high = self.most[row].log() + ROUNDING
        share = torch.linspace(0.0, 1.0, INTERVALS + 1, dtype=mean.dtype, device=mean.device)
        sd = torch.exp(0.5 * torch.lerp(low.unsqueeze(1), high.unsqueeze(1), share)).unsqueeze(-1)
        ends = torch.where(nodes > 0, sd[:, 1:], sd[:, :-1])
        score = self._of(row)(mean.clamp(min=LEAST_MEAN).reshape(-1, 1, 1) + ROUNDING + nodes * ends)
        return ((score * weights).sum(-1) / weights.sum()).amax(1)


def expected(affinity: AffinityDistribution, probability: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the mean of a function of affinities, of their shape, by the nodes of `AffinityDistribution.expect`."""
    if affinity.variance is None:
        return probability(affinity.mean)
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    sd, mean = affinity.variance.sqrt(), torch.zeros_like(affinity.mean)
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        mean.add_(probability(torch.add(affinity.mean, sd, alpha=float(node))), alpha=float(weight))
    return mean


def _numbers(k: int, items: int) -> Iterator[int]:
    """Yield numbers of candidates, each far below all items."""
    number = max(FIRST, 2 * k)
    while number < items // LAST_SHARE:
        yield number
        number *= GROWTH
