"""Expectations over z of sigma(offset + slope z) and of sigma(offset + log z), for many offsets under few distributions.

| tensor | shape | meaning |
| --- | --- | --- |
| distribution, slope | (D,) | distributions of z, and the slope for each |
| offset | (B,) | the offset of each integral |
| cell_index | (B,) | index of each integral's distribution among the D |
| shift, weight | (D, n) | nodes of each distribution: an integral is sum_n weight_n sigma(offset + shift_n) |

Nodes depend on the distribution but not on the offset, so they are computed once for all integrals under it. Integrals
are grouped by the number of nodes they need, so that an extreme offset does not slow down the others.
"""

import math
from collections.abc import Callable
from functools import singledispatch

import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Distribution, Exponential, Gamma, LogNormal, Normal

from pyro_popbias.distributions.alternating import TERMS, alternating_weights
from pyro_popbias.distributions.logistic import logistic_normal
from pyro_popbias.distributions.node_sums import groups, node_sums
from pyro_popbias.distributions.quadrature import BLOCK, grid
from pyro_popbias.distributions.quadrature import NODES as INVERSE_NODES
from pyro_popbias.distributions.selection import flat, take
from pyro_popbias.distributions.special import bounded_exp

NODES = 256  # of E[sigma(offset + slope z)], whose integrand has poles nearer to the real line than a saturation's
NEAR = 5.0  # below offset -NEAR the poles come closer, as 1 / |offset|, and nodes are added in proportion
MOST = 24  # largest number of nodes, in multiples of NODES
BIN = 8.0  # of offsets whose integrals of sigma(offset + log z) share a range of nodes
LAST_BIN = 5


@singledispatch
def _log_transform(distribution: Distribution, s: Tensor) -> Tensor | None:
    """Return log E[exp(-s z)], `(D, n)` as s, or None if it has no closed form."""
    return None


@_log_transform.register
def _log_transform_gamma(distribution: Gamma, s: Tensor) -> Tensor:
    return -distribution.concentration.unsqueeze(-1) * torch.log1p(s / distribution.rate.unsqueeze(-1))


@_log_transform.register
def _log_transform_exponential(distribution: Exponential, s: Tensor) -> Tensor:
    return -torch.log1p(s / distribution.rate.unsqueeze(-1))


def _series(log_transform: Tensor, offset: Tensor, cell_index: Tensor) -> Tensor:
    """Return E[sigma(offset + slope z)] for offset >= 0, from log E[exp(-k slope z)] for k < TERMS, `(D, TERMS)`."""
    k = torch.arange(TERMS, dtype=offset.dtype, device=offset.device)
    weight = offset.new_tensor(alternating_weights(TERMS))
    # sigma(x) = sum_k (-1)^k e^(-kx), and e^(-k (a + slope z)) is the k-th power of a number in [0, 1]
    return torch.cat(
        [
            torch.exp(log_transform[cell_index[part]] - k * offset[part].unsqueeze(-1)) @ weight
            for part in torch.arange(len(offset), device=offset.device).split(BLOCK // TERMS)
        ]
    )


def _rising(distribution: Distribution, slope: Tensor, offset: Tensor, cell_index: Tensor, nodes: int) -> Tensor:
    """Return E[sigma(offset + slope z)] for slope >= 0 by quadrature."""

    def of_distribution(distribution: Distribution, slope: Tensor) -> tuple[Tensor, Tensor]:
        rule = grid(distribution, slope, nodes)
        x = slope * bounded_exp(rule.log_z)
        return x.T.contiguous(), (torch.exp(rule.log_weight) * -torch.expm1(-x)).T.contiguous()

    # sigma(a + x) - sigma(a) = sigma(a + x) (1 - e^(-x)) sigma(-a), which vanishes at x = 0
    return torch.sigmoid(offset) + torch.sigmoid(-offset) * node_sums(
        distribution, slope, offset, cell_index, of_distribution, nodes=nodes
    )


@singledispatch
def _linear(distribution: Distribution, slope: Tensor, offset: Tensor, cell_index: Tensor) -> Tensor:
    falls = (slope < 0)[cell_index]
    slope, offset = torch.where(slope < 0, -slope, slope), torch.where(falls, -offset, offset)
    log_transform = _log_transform(
        distribution, slope.unsqueeze(-1) * torch.arange(TERMS, dtype=slope.dtype, device=slope.device)
    )
    with torch.no_grad():
        group = torch.log2((-offset.nan_to_num() / NEAR).clamp(1.0, MOST)).ceil()
        if log_transform is not None:
            group = torch.where(offset >= 0, -1.0, group)
    value = torch.zeros_like(offset)
    for number, rows, used, among in groups(group, cell_index):
        if number < 0 and log_transform is not None:
            part = _series(log_transform[used], offset[rows], among)
        else:
            nodes = NODES * min(2**number, MOST)
            part = _rising(take(distribution, used), slope[used], offset[rows], among, nodes)
        value = value.index_copy(0, rows, part)
    return torch.where(falls, 1 - value, value)


@_linear.register
def _linear_delta(distribution: Delta, slope: Tensor, offset: Tensor, cell_index: Tensor) -> Tensor:
    return torch.sigmoid(offset + (slope * distribution.v)[cell_index])


@_linear.register
def _linear_normal(distribution: Normal, slope: Tensor, offset: Tensor, cell_index: Tensor) -> Tensor:
    return logistic_normal(offset + (slope * distribution.loc)[cell_index], (slope * distribution.scale)[cell_index])


def expected_logistic(
    offset: float | Tensor, slope: float | Tensor, distribution: Distribution, *, cell_index: Tensor | None = None
) -> Tensor:
    """Return E[sigma(offset + slope z)], a probability; differentiable in all three.

    Accurate to 2.2e-9 under a Normal distribution and to 1e-7 under positive distributions; to 1e-11 under Gamma and
    Exponential distributions if offset and slope have the same sign.

    Args:
        offset: broadcastable to the batch of the distribution, the logit at z = 0; with `cell_index`, `(B,)`.
        slope: broadcastable to the batch of the distribution, of any sign.
        distribution: the distribution of z, Normal or positive; with `cell_index`, `(D,)` distributions.
        cell_index: `(B,)` index of each offset's distribution.
    """
    return of_pairs(_linear, offset, slope, distribution, cell_index)


@singledispatch
def _inverse(distribution: Distribution, slope: Tensor, offset: Tensor, cell_index: Tensor) -> Tensor:
    def of_distribution(distribution: Distribution, slope: Tensor) -> tuple[Tensor, Tensor]:
        rule = grid(distribution, slope, INVERSE_NODES)
        return rule.log_z.T.contiguous(), torch.exp(rule.log_weight).T.contiguous()

    known = offset.detach().nan_to_num()  # a NaN offset must not affect other integrals
    group = torch.floor(known / BIN).clamp(-LAST_BIN, LAST_BIN)
    value = torch.zeros_like(offset)
    for _, rows, used, among in groups(group, cell_index):
        # the range of nodes grows with the slope at 0, which is e^offset: the largest one covers all
        steepest = torch.exp(known[rows].max()).expand(len(used))
        part = node_sums(take(distribution, used), steepest, offset[rows], among, of_distribution, nodes=INVERSE_NODES)
        value = value.index_copy(0, rows, part)
    return value


@_inverse.register
def _inverse_delta(distribution: Delta, slope: Tensor, offset: Tensor, cell_index: Tensor) -> Tensor:
    return torch.sigmoid(offset + torch.log(distribution.v)[cell_index])


@_inverse.register
def _inverse_lognormal(distribution: LogNormal, slope: Tensor, offset: Tensor, cell_index: Tensor) -> Tensor:
    return logistic_normal(offset + distribution.loc[cell_index], distribution.scale[cell_index])


def expected_inverse_logistic(
    offset: float | Tensor, distribution: Distribution, *, cell_index: Tensor | None = None
) -> Tensor:
    """Return E[sigma(offset + log z)] = E[z / (z + exp(-offset))], a probability; differentiable in both.

    Accurate to 2.2e-9 under a LogNormal distribution and to 1e-7 under other positive distributions.

    Args:
        offset: broadcastable to the batch of the distribution, the logit at z = 1; with `cell_index`, `(B,)`.
        distribution: a positive distribution of z; with `cell_index`, `(D,)` distributions.
        cell_index: `(B,)` index of each offset's distribution.
    """
    return of_pairs(_inverse, offset, 1.0, distribution, cell_index)


def of_pairs(
    integral: Callable[[Distribution, Tensor, Tensor, Tensor], Tensor],
    offset: float | Tensor,
    slope: float | Tensor,
    distribution: Distribution,
    cell_index: Tensor | None,
) -> Tensor:
    """Return the integrals of offsets that broadcast with the distributions, or that `cell_index` assigns to them."""
    mean = distribution.mean
    offset, slope = (each if isinstance(each, Tensor) else mean.new_tensor(float(each)) for each in (offset, slope))
    distributions = torch.broadcast_shapes(distribution.batch_shape, slope.shape)
    shape = torch.broadcast_shapes(distributions, offset.shape) if cell_index is None else cell_index.shape
    if cell_index is None:
        cell_index = (
            torch.arange(math.prod(distributions), device=mean.device).reshape(distributions).expand(shape).reshape(-1)
        )
    if not cell_index.numel():
        return offset.new_zeros(shape)
    flat_distribution, flat_slope = flat(distribution.expand(distributions)), slope.expand(distributions).reshape(-1)
    return integral(flat_distribution, flat_slope, offset.expand(shape).reshape(-1), cell_index).reshape(shape)
