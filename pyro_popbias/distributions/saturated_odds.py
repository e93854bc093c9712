"""E[sigma(offset + logit g(z))] for a bounded saturation g: g(z) after its odds are multiplied by a number.

It is the integral of a product of two probabilities, one of them g(z), whose odds are multiplied: with P = s g and odds divided
by w,

    P / (P + (1 - P) w) = (s / w) e^-y sigma(y + logit g),    y = log(1 - s + s / w),

so that for one distribution of z it depends on s and w by one number, y, which lies between 0 and -log w.
"""

from typing import Protocol

import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.distributions.logistic_integrals import BIN, LAST_BIN, NODES, of_pairs
from pyro_popbias.distributions.node_sums import groups, node_sums
from pyro_popbias.distributions.quadrature import grid
from pyro_popbias.distributions.selection import take
from pyro_popbias.distributions.special import bounded_exp


class BoundedLink(Protocol):
    """An increasing function g of z > 0 from 0 to 1."""

    @property
    def slope(self) -> Tensor:
        """g'(0)."""

    def log(self, z: Tensor) -> Tensor:
        """Log g(z)."""

    def log_complement(self, z: Tensor) -> Tensor:
        """Log(1 - g(z))."""


def expected_odds(
    saturation: BoundedLink, offset: Tensor, distribution: Distribution, *, cell_index: Tensor | None = None
) -> Tensor:
    """Return e^-offset E[sigma(offset + logit g(z))] = E[1 / (1 / odds of g(z) + e^offset)].

    Accurate to a relative error of 2e-6, or to 2e-8 in e^offset times it, whichever is larger.

    Args:
        saturation: g, with a scalar parameter.
        offset: broadcastable to the batch of the distribution; with `cell_index`, `(B,)`.
        distribution: a positive distribution of z; with `cell_index`, `(D,)` distributions.
        cell_index: `(B,)` index of each offset's distribution.
    """

    def integral(distribution: Distribution, slope: Tensor, offset: Tensor, cell_index: Tensor) -> Tensor:
        known = offset.nan_to_num()  # a NaN offset must not affect other integrals
        group = torch.floor(known / BIN).clamp(-LAST_BIN, LAST_BIN)
        value = torch.zeros_like(offset)
        for _, rows, used, among in groups(group, cell_index):
            # the range of nodes grows with the slope at 0, which is e^offset g'(0): the largest one covers all
            steepest = slope[used] * torch.exp(known[rows].max())
            part = node_sums(take(distribution, used), steepest, offset[rows], among, of_distribution, nodes=NODES)
            value = value.index_copy(0, rows, part)
        return value

    def of_distribution(distribution: Distribution, slope: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(distribution, Delta):
            z, weight = distribution.v.unsqueeze(0), torch.ones_like(distribution.v).unsqueeze(0)
        else:
            rule = grid(distribution, slope, NODES)
            z, weight = bounded_exp(rule.log_z), torch.exp(rule.log_weight)
        logit = saturation.log(z) - saturation.log_complement(z)
        return logit.T.contiguous(), weight.T.contiguous()

    return torch.exp(-offset) * of_pairs(integral, offset, saturation.slope, distribution, cell_index)
