"""E[log(1 + e^y z^p)] of a positive z, the one term of a negative binomial count that has no closed form.

Closed under a LogNormal within 1e-8; elsewhere the rule over log z of `quadrature`. Under a Gamma, where each step of a
default study needs it, the gradient comes from the same nodes as the value: with s = log z - log(a / b) at fixed nodes,

    d/dy = E[sigma],   d/d log b = -p E[sigma],   d/da = E[v (-F'(a) - (e^s - 1 - s))] + p E[sigma] / a

where v = log(1 + e^(y + p log z)), sigma is its slope, and -F(a) - a (e^s - 1 - s) is the log density of s.
"""

from functools import singledispatch
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution, Exponential, Gamma, LogNormal
from torch.nn.functional import softplus

from pyro_popbias.distributions.logistic import softplus_normal
from pyro_popbias.distributions.quadrature import BLOCK, TAIL, grid, log_gamma_nodes
from pyro_popbias.distributions.special import log_gamma_remainder
from pyro_popbias.distributions.traced import are_known

NODES = 64
FEWER = 40  # where neither the density of log z nor z^p has a long lower tail
FEWER_FROM = 1.0  # of a Gamma's concentration: both rules are right to 2e-7 there, and to 3e-6 where the power is .5


@singledispatch
def expected_softplus(distribution: Distribution, offset: Tensor, power: Tensor) -> Tensor:
    """Return E[log(1 + e^offset z^power)], in the broadcast shape of offset and batch; differentiable in all.

    Args:
        distribution: positive.
        offset: broadcastable to the batch.
        power: scalar above 0; under a Gamma it gets no gradient.
    """
    slope = _reach(offset, power).exp().expand(distribution.batch_shape)
    rule = grid(distribution, slope, NODES)
    return rule.expectation(softplus(offset + power * rule.log_z))


@expected_softplus.register
def _of_lognormal(distribution: LogNormal, offset: Tensor, power: Tensor) -> Tensor:
    return softplus_normal(offset + power * distribution.loc, power * distribution.scale)


@expected_softplus.register
def _of_exponential(distribution: Exponential, offset: Tensor, power: Tensor) -> Tensor:
    one = torch.ones_like(distribution.rate)
    return _of_gamma(Gamma(one, distribution.rate, validate_args=False), offset, power)


@expected_softplus.register
def _of_gamma(distribution: Gamma, offset: Tensor, power: Tensor) -> Tensor:
    a, b, y = torch.broadcast_tensors(distribution.concentration, distribution.rate, offset)
    value: Tensor = _UnderGamma.apply(*(each.reshape(-1) for each in (a, b, y)), power.detach())
    return value.reshape(a.shape)


def _reach(offset: Tensor, power: Tensor) -> Tensor:
    # log(1 + e^y z^p) falls as z^p towards 0: slower than the rule expects where the power is below 1
    return (offset + TAIL * (1 / power - 1).clamp(min=0.0)).detach()


class _UnderGamma(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, offset: Tensor, power: Tensor) -> Tensor:
        """Return the value, and keep what the gradient needs."""
        found = _in_blocks(a, b, offset, power) if are_known() else _by_both(a, b, offset, power)
        value, slope, of_shape = found
        ctx.save_for_backward(of_shape + power * slope / a, -power * slope / b, slope)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradient of each argument."""
        of_a, of_b, of_offset = ctx.saved_tensors
        return grad * of_a, grad * of_b, grad * of_offset, None


def _in_blocks(a: Tensor, b: Tensor, offset: Tensor, power: Tensor) -> Tensor:
    """Return `_sums` of all cells, `(3, D)`, each with as many nodes as it needs, and no more at once than a cache holds."""
    found, long = a.new_empty(3, len(a)), _is_long(a, power)
    for rows, nodes in ((long, NODES), (~long, FEWER)):
        for part in rows.nonzero().squeeze(-1).split(BLOCK // nodes):
            of_part = a.index_select(0, part), b.index_select(0, part), offset.index_select(0, part)
            found[:, part] = _sums(*of_part, power, nodes)
    return found


def _by_both(a: Tensor, b: Tensor, offset: Tensor, power: Tensor) -> Tensor:
    """Return what `_in_blocks` does, without a look at values."""
    long, short = (_sums(a, b, offset, power, nodes) for nodes in (NODES, FEWER))
    return torch.where(_is_long(a, power), long, short)


def _is_long(a: Tensor, power: Tensor) -> Tensor:
    return (a < FEWER_FROM) | (power < 1)


def _sums(a: Tensor, b: Tensor, offset: Tensor, power: Tensor, nodes: int) -> Tensor:
    """Return E[v], E[sigma] and E[v (-F'(a) - (e^s - 1 - s))] of some cells, `(3, D)`."""
    s, log_step = log_gamma_nodes(a, b, _reach(offset, power).exp(), nodes)
    # e^s - 1 - s cancels for small s, but times `a` at most by 1e-16 sqrt(a)
    bend = torch.expm1(s).sub_(s)
    remainder, slope = log_gamma_remainder(a)
    weight = torch.addcmul(log_step - remainder, bend, a, value=-1.0).exp_()
    x = s.mul_(power).add_(offset + power * torch.log(a / b))
    weighted = softplus(x).mul_(weight)
    value = weighted.sum(0)
    sigma = torch.sigmoid(x).mul_(weight).sum(0)
    return torch.stack([value, sigma, -slope * value - weighted.mul_(bend).sum(0)])
