"""The trapezoidal rule on the standardised logarithm of z: E[g(z)] for any smooth g that vanishes at 0.

With log z standardised, the density has nearly the same shape for every member of a family, so that about a hundred
equidistant nodes are accurate to about 1e-8. The range omits a probability of about exp(-TAIL); it extends further to
the left for distributions with a heavy lower tail, but only to where g(z) ~ slope * z makes the integrand negligible.
"""

import math
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor
from torch.distributions import Distribution, Exponential, Gamma, LogNormal, Weibull

from pyro_popbias.distributions.special import exp_minus_one_minus, log_gamma_remainder

NODES = 128
BLOCK = 2**17  # elements that an integral holds at once, so that they fit into the cache
TAIL = 18.0
WIDE, WIDE_NODES = 30.0, 1_024  # log z and its nodes, where nothing is known of the family


@dataclass(frozen=True)
class Grid:
    """Nodes of the rule: the leading dimension is the node, the others are those of the batch.

    `log_z` is the logarithm of z at the node, `log_weight` the logarithm of density times step.
    """

    log_z: Tensor
    log_weight: Tensor

    def expectation(self, values: Tensor) -> Tensor:
        """Return the sum over nodes of weight times value, in the shape of the batch."""
        return (torch.exp(self.log_weight) * values).sum(0)


def _spread(low: Tensor, high: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """Return nodes `(n, ...)` from low to high and the logarithm of their step, both without gradient."""
    low, high = torch.broadcast_tensors(low.detach(), high.detach())
    unit = torch.linspace(0, 1, nodes, dtype=low.dtype, device=low.device).reshape(-1, *([1] * low.dim()))
    return low + (high - low) * unit, torch.log((high - low) / (nodes - 1))


@singledispatch
def grid(distribution: Distribution, slope: Tensor, nodes: int = NODES) -> Grid:
    """Return the nodes and weights for a batch of distributions.

    Args:
        distribution: a positive distribution, any batch shape.
        slope: g'(0) of the function to integrate, broadcastable to the batch.
        nodes: number of nodes.

    A family without a rule of its own is integrated over a wide range of log z, right where log z has a standard
    deviation of .1 or more.
    """
    like = distribution.mean.detach()
    s, log_step = _spread(torch.full_like(like, -WIDE), torch.full_like(like, WIDE), WIDE_NODES)
    return Grid(s, log_step + distribution.log_prob(s.exp()) + s)


def log_gamma_nodes(concentration: Tensor, rate: Tensor, slope: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """Return nodes s `(n, ...)` of log z = log(a/b) + s under a Gamma, and the logarithm of their step, without gradient."""
    a, y = concentration, TAIL / concentration
    high = torch.log1p(y + torch.sqrt(2 * y))
    reach = (TAIL + a + torch.relu(torch.log(slope * a / rate))) / (1 + a)
    low = -torch.minimum(0.5 * (y + torch.sqrt(y.square() + 8 * y)), reach)
    return _spread(low, high, nodes)


def _log_gamma_grid(concentration: Tensor, rate: Tensor, slope: Tensor, nodes: int) -> Grid:
    # log z = log(a/b) + s has log density -F(a) - a (e^s - 1 - s)
    a = concentration
    s, log_step = log_gamma_nodes(a, rate, slope, nodes)
    return Grid(torch.log(a / rate) + s, log_step - log_gamma_remainder(a)[0] - a * exp_minus_one_minus(s))


@grid.register
def _grid_gamma(distribution: Gamma, slope: Tensor, nodes: int = NODES) -> Grid:
    return _log_gamma_grid(distribution.concentration, distribution.rate, slope, nodes)


@grid.register
def _grid_exponential(distribution: Exponential, slope: Tensor, nodes: int = NODES) -> Grid:
    return _log_gamma_grid(torch.ones_like(distribution.rate), distribution.rate, slope, nodes)


@grid.register
def _grid_weibull(distribution: Weibull, slope: Tensor, nodes: int = NODES) -> Grid:
    # log z = log l + s/k has density e^(s - e^s)
    high = torch.full_like(distribution.scale, math.log1p(TAIL + math.sqrt(2 * TAIL)))
    reach = (TAIL + torch.relu(torch.log(slope * distribution.scale))) / (1 + 1 / distribution.concentration)
    s, log_step = _spread(-torch.clamp(reach, max=TAIL), high, nodes)
    return Grid(torch.log(distribution.scale) + s / distribution.concentration, log_step + s - torch.exp(s))


@grid.register
def _grid_lognormal(distribution: LogNormal, slope: Tensor, nodes: int = NODES) -> Grid:
    # log z = mu + sigma s with s standard normal
    low = torch.full_like(distribution.scale, -6.0)
    s, log_step = _spread(low, 6 + torch.clamp(distribution.scale, max=3.0), nodes)
    return Grid(distribution.loc + distribution.scale * s, log_step - 0.5 * s.square() - 0.5 * math.log(2 * math.pi))
