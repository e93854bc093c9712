"""The log-likelihood of a cell's popularity: the affinities, labels and weights of its rows.

Many rows of a cell are replaced by a few weighted ones under which every likelihood here has the same sum:
log P(c | x, z) is analytic in x up to Im x = +-pi, where the logistic function has its poles, so that a sum over rows
equals a sum over Chebyshev nodes to rounding.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_popbias.assembly.pair import BLOCK
from pyro_popbias.models import AffinityDistribution, PopularityModel
from pyro_popbias.models.affinities.distribution import Deviation

NODES = 5  # of the Gauss-Hermite rule over x_ui where it has a distribution
DIGITS = 28.0  # nats of relative precision that the replacement rows keep


@dataclass(frozen=True)
class CellObservations:
    """R rows of D cells.

    | field | shape | meaning |
    | --- | --- | --- |
    | cell_index | (R,) | which of the D cells |
    | affinity | (R,) | x_ui, the intercept included |
    | label | (R,) | 0 or 1 |
    | weight | (R,) | number of times the row counts |
    | variance | (R,) | of x, where users differ in conformity; else None, as x is known |
    | conformity | (R,) | mean of d_u, or None |
    | conformity_variance | (R,) | of d_u, or None |

    Where d_u has a distribution, each row counts by its expected log-likelihood over x + d_u t(z), which is Normal given z.
    """

    cell_index: Tensor
    affinity: Tensor
    label: Tensor
    weight: Tensor
    variance: Tensor | None = None
    conformity: Tensor | None = None
    conformity_variance: Tensor | None = None

    def __len__(self) -> int:
        return len(self.cell_index)

    def blocks(self, size: int) -> Iterator["CellObservations"]:
        """Yield the rows in blocks of a size."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            first = (each[part] for each in (self.cell_index, self.affinity, self.label, self.weight))
            rest = (self.variance, self.conformity, self.conformity_variance)
            yield CellObservations(*first, *(None if each is None else each[part] for each in rest))

    def log_likelihood(self, model: PopularityModel, z: Tensor) -> Tensor:
        """Return the log-likelihood of each cell's rows at given values of its popularity, `(n, D)`, in nats.

        Args:
            model: the model that defines the likelihood.
            z: `(n, D)` values of popularity.
        """
        total = torch.zeros_like(z)
        for rows in self.blocks(max(1, BLOCK // len(z))):
            of_rows = z.index_select(-1, rows.cell_index)
            for x, share in rows._affinities(model, of_rows):
                log_prob = model.likelihood(x, of_rows).log_prob(rows.label)
                total.index_add_(-1, rows.cell_index, share * rows.weight * log_prob)
        return total

    def _affinities(self, model: PopularityModel, z: Tensor) -> Iterator[tuple[Tensor, float]]:
        """Yield values of x + d_u t(z), `(n, R)`, and their probabilities; x itself, `(R,)`, where users do not differ in d_u."""
        if self.conformity is None or self.conformity_variance is None:
            yield self.affinity, 1.0
            return
        beside = Deviation(self.conformity, self.conformity_variance)
        given = AffinityDistribution(self.affinity, self.variance, beside).given(model.logit_term(z))
        assert given.variance is not None  # noqa: S101  d_u has one
        sd, (nodes, shares) = given.variance.sqrt(), np.polynomial.hermite_e.hermegauss(NODES)
        for node, share in zip(nodes.tolist(), (shares / shares.sum()).tolist(), strict=True):
            yield given.mean + node * sd, share

    def compressed(self) -> "CellObservations":
        """Return observations with the same log-likelihood in which no cell has many rows with the same label.

        Rows of users who differ in conformity stay as they are: they are no function of one number.
        """
        if self.conformity is not None:
            return self
        group = 2 * self.cell_index + self.label.long()
        count = torch.bincount(group)
        ends = [
            torch.zeros(len(count), dtype=torch.float64, device=group.device).scatter_reduce(
                0, group, self.affinity, how, include_self=False
            )
            for how in ("amin", "amax")
        ]
        center, half = 0.5 * (ends[0] + ends[1]), 0.5 * (ends[1] - ends[0])
        # the error of n nodes on an interval of half width r falls by asinh(pi / r) nats per node
        nodes = math.ceil(DIGITS / math.asinh(math.pi / max(float(half.max()), 0.1)))
        many = (count > nodes).nonzero().squeeze(-1)
        if not len(many):
            return self
        place = torch.full_like(count, -1).index_copy_(0, many, torch.arange(len(many), device=many.device))
        to = place.index_select(0, group)
        replaced, kept = to >= 0, to < 0
        unit = (self.affinity - center[group]) / half[group].clamp(min=1e-9)
        node, weight = _chebyshev(unit[replaced], self.weight[replaced], to[replaced], len(many), nodes)
        parts = (
            (self.cell_index, (many // 2).repeat_interleave(nodes)),
            (self.affinity, (center[many, None] + half[many, None] * node).reshape(-1)),
            (self.label, (many % 2).double().repeat_interleave(nodes)),
            (self.weight, weight.reshape(-1)),
        )
        return CellObservations(*(torch.cat([own[kept], new]) for own, new in parts))


def _chebyshev(unit: Tensor, weight: Tensor, group: Tensor, groups: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Return nodes `(n,)` in (-1, 1) and weights `(G, n)` with the same sums as the points of G groups.

    Args:
        unit: `(R,)` points in [-1, 1].
        weight: `(R,)` their weights.
        group: `(R,)` their groups.
        groups: G.
        nodes: n.
    """
    moments = torch.zeros(nodes, groups, dtype=torch.float64, device=unit.device)
    before, now = unit, torch.ones_like(unit)  # T_{-1} = T_1
    for k in range(nodes):
        moments[k].index_add_(0, group, (2 if k else 1) * weight * now)
        before, now = now, 2 * unit * now - before
    angle = math.pi * (torch.arange(nodes, dtype=torch.float64, device=unit.device) + 0.5) / nodes
    order = torch.arange(nodes, dtype=torch.float64, device=unit.device)
    # weight of node k = (1/n) (M_0 + 2 sum over m of M_m T_m(node k))
    return torch.cos(angle), moments.T @ torch.cos(order[:, None] * angle) / nodes
