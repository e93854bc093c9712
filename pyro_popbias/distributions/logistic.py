"""Expectations of the logistic function sigma: of a normal argument, and of one linear in z or in log z.

The default for a normal argument is a mixture of eight normal distribution functions in place of sigma (Monahan and
Stefanski 1992, in Balakrishnan, Handbook of the Logistic Distribution). It is 2.11e-9 off at most, and so is every
expectation of it, whatever the law. Far tails need the logarithm instead, which has its own rule.
"""

import math
from dataclasses import dataclass
from functools import singledispatch

import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Distribution, LogNormal, Normal
from torch.nn.functional import logsigmoid

from pyro_popbias.distributions.quadrature import grid
from pyro_popbias.distributions.special import bounded_exp

# fmt: off
_WEIGHTS = (
    0.003246343272134, 0.051517477033972, 0.195077912673858, 0.315569823632818,
    0.274149576158423, 0.131076880695470, 0.027912418727972, 0.001449567805354,
)
_SCALES = (
    1.365340806296348, 1.059523971016916, 0.830791313765644, 0.650732166639391,
    0.508135425366489, 0.396313345166341, 0.308904252267995, 0.238212616409306,
)
# fmt: on
NODES = 256  # of E[sigma(offset + slope z)], whose integrand has poles nearer to the real line than a saturation's
NEAR = 5.0  # below offset -NEAR the poles come nearer still, as 1 / |offset|, and nodes are added in proportion
MOST = 24  # times NODES is the largest rule
REACH = (
    7.5  # of the nodes to either side of the mode: the integrand falls at least as fast as a standard normal density
)
LEAST_NODES = 80
NODES_PER_SCALE = 18
BISECTIONS = 40


def _numbers(*values: float | Tensor) -> tuple[Tensor, ...]:
    """Return tensors of one shape; floats take the dtype of the first tensor, or float64 where there is none."""
    first = next((each for each in values if isinstance(each, Tensor)), torch.zeros((), dtype=torch.float64))
    return torch.broadcast_tensors(
        *(each if isinstance(each, Tensor) else first.new_tensor(float(each)) for each in values)
    )


def logistic_normal(loc: float | Tensor, scale: float | Tensor) -> Tensor:
    """Return E[sigma(loc + scale e)] with e standard normal, within 2.2e-9 for every loc and scale; differentiable.

    The bound is absolute. Below a probability of about 1e-7 use `log_logistic_normal`.

    Args:
        loc: any shape, mean of the logit.
        scale: broadcastable to it, standard deviation of the logit; its sign does not matter.
    """
    loc, scale = (each.unsqueeze(-1) for each in _numbers(loc, scale))
    weights, scales = loc.new_tensor(_WEIGHTS), loc.new_tensor(_SCALES)
    # sigma(x) is about sum_j p_j Phi(s_j x), and E[Phi(s (m + t e))] = Phi(m s / sqrt(1 + (t s)^2))
    spread = torch.sqrt(1 + (scale * scales).square())
    return (weights * torch.special.ndtr(loc * scales / spread)).sum(-1)


def _mode(loc: Tensor, scale: Tensor) -> Tensor:
    """Return the e at which -e^2/2 + log sigma(loc + scale e) is largest, for scale >= 0, to a small part of scale."""
    # the derivative -e + scale sigma(-loc - scale e) falls and changes sign in [0, scale]; Newton's steps can cycle
    low, high = torch.zeros_like(scale), scale
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        rising = scale * torch.sigmoid(-loc - scale * middle) > middle
        low, high = torch.where(rising, middle, low), torch.where(rising, high, middle)
    return low


def log_logistic_normal(loc: float | Tensor, scale: float | Tensor) -> Tensor:
    """Return log E[sigma(loc + scale e)] with e standard normal, relatively right in both tails; differentiable.

    The trapezoidal rule around the mode of the integrand. The logarithm of the complement is that of -loc.

    Args:
        loc: any shape, mean of the logit.
        scale: broadcastable to it, standard deviation of the logit; its sign does not matter.
    """
    loc, scale = _numbers(loc, scale)
    # the probability of the rarer label; the other is its complement
    rare, scale = torch.where(loc > 0, -loc, loc), torch.where(scale < 0, -scale, scale)
    with torch.no_grad():
        widest = float(scale.max()) if scale.numel() else 0.0
        number = int(min(max(LEAST_NODES, NODES_PER_SCALE * widest), MOST * NODES))
        unit = torch.linspace(-REACH, REACH, number, dtype=loc.dtype, device=loc.device)
        node = _mode(rare, scale) + unit.reshape(-1, *([1] * loc.dim()))
        log_weight = math.log(2 * REACH / (number - 1)) - 0.5 * node.square() - 0.5 * math.log(2 * math.pi)
    log_rare = torch.logsumexp(log_weight + logsigmoid(rare + scale * node), 0)
    return torch.where(loc > 0, torch.log1p(-torch.exp(log_rare)), log_rare)


@dataclass(frozen=True)
class _Gain:
    """(sigma(offset + slope z) - sigma(offset)) / sigma(-offset) for slope >= 0, which vanishes at z = 0."""

    offset: Tensor
    slope: Tensor

    def at_log(self, log_z: Tensor) -> Tensor:
        """Return the gain at z = exp(log_z)."""
        x = self.slope * bounded_exp(log_z)
        # sigma(a + x) - sigma(a) = sigma(a + x) (1 - e^(-x)) sigma(-a)
        return torch.sigmoid(self.offset + x) * -torch.expm1(-x)


def _nodes(offset: Tensor) -> int:
    lowest = float(offset.detach().min()) if offset.numel() else 0.0
    return int(NODES * min(max(1.0, -lowest / NEAR), MOST))


@singledispatch
def _linear(law: Distribution, offset: Tensor, slope: Tensor) -> Tensor:
    sign = torch.where(slope < 0, -1.0, 1.0).to(slope)
    gain = _Gain(sign * offset, sign * slope)
    rule = grid(law, gain.slope, _nodes(gain.offset))
    return torch.sigmoid(offset) + sign * torch.sigmoid(-gain.offset) * rule.expectation(gain.at_log(rule.log_z))


@_linear.register
def _linear_delta(law: Delta, offset: Tensor, slope: Tensor) -> Tensor:
    return torch.sigmoid(offset + slope * law.v)


@_linear.register
def _linear_normal(law: Normal, offset: Tensor, slope: Tensor) -> Tensor:
    return logistic_normal(offset + slope * law.loc, slope * law.scale)


def expected_logistic(offset: float | Tensor, slope: float | Tensor, distribution: Distribution) -> Tensor:
    """Return E[sigma(offset + slope z)], a probability; differentiable in all three.

    Within 2.2e-9 under a Normal law, within 1e-7 under positive laws.

    Args:
        offset: broadcastable to the batch of the law, the logit at z = 0.
        slope: likewise, of any sign.
        distribution: the law of z, Normal or positive.
    """
    _, offset, slope = _numbers(distribution.mean, offset, slope)
    return _linear(distribution.expand(offset.shape), offset, slope)


@singledispatch
def _inverse(law: Distribution, offset: Tensor) -> Tensor:
    rule = grid(law, torch.exp(offset))
    return rule.expectation(torch.sigmoid(offset + rule.log_z))


@_inverse.register
def _inverse_delta(law: Delta, offset: Tensor) -> Tensor:
    return torch.sigmoid(offset + torch.log(law.v))


@_inverse.register
def _inverse_lognormal(law: LogNormal, offset: Tensor) -> Tensor:
    return logistic_normal(offset + law.loc, law.scale)


def expected_inverse_logistic(offset: float | Tensor, distribution: Distribution) -> Tensor:
    """Return E[sigma(offset + log z)] = E[z / (z + exp(-offset))], a probability; differentiable in both.

    Within 2.2e-9 under a LogNormal law, within 1e-7 under other positive laws.

    Args:
        offset: broadcastable to the batch of the law, the logit at z = 1.
        distribution: a positive law of z.
    """
    _, offset = _numbers(distribution.mean, offset)
    return _inverse(distribution.expand(offset.shape), offset)
