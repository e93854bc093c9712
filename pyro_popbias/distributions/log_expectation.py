"""log E[f(z)] of a positive f given by its logarithm, with a small relative error however small the expectation is.

The integrand may be concentrated far out in a tail of the distribution, where the rule of `quadrature` has no nodes. So
coarse nodes locate it first, and the trapezoidal rule is applied on that range of log z.
"""

import math
from collections.abc import Callable
from functools import singledispatch

import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Distribution, Exponential, Gamma, LogNormal, Weibull

from pyro_popbias.distributions.kl import moments
from pyro_popbias.distributions.selection import flat
from pyro_popbias.distributions.special import bounded_exp, exp_minus_one_minus, log_gamma_remainder

COARSE, NEAR, FINE = 1_000, 200, 500  # nodes: of the whole range, around the mean of log z, and of the rule
REACH = (
    40.0  # standard deviations of log z to either side; also nats below the maximum of the integrand that are dropped
)


@singledispatch
def _log_density(distribution: Distribution, log_z: Tensor) -> Tensor:
    """Return the log density of log z, `(n, D)` at nodes `(n, D)`."""
    raise NotImplementedError(f"no density of log z for {type(distribution).__name__}")


def _log_gamma(concentration: Tensor, rate: Tensor, log_z: Tensor) -> Tensor:
    # log z = log(a/b) + s has log density -F(a) - a (e^s - 1 - s)
    s = log_z - torch.log(concentration / rate)
    far = s > 1.0  # here e^s may overflow, and nothing cancels
    near = concentration * exp_minus_one_minus(torch.where(far, 1.0, s))
    beyond = rate * bounded_exp(torch.where(far, log_z, 0.0)) - concentration * (1 + s)
    return -log_gamma_remainder(concentration)[0] - torch.where(far, beyond, near)


@_log_density.register
def _log_density_gamma(distribution: Gamma, log_z: Tensor) -> Tensor:
    return _log_gamma(distribution.concentration, distribution.rate, log_z)


@_log_density.register
def _log_density_exponential(distribution: Exponential, log_z: Tensor) -> Tensor:
    return _log_gamma(torch.ones_like(distribution.rate), distribution.rate, log_z)


@_log_density.register
def _log_density_weibull(distribution: Weibull, log_z: Tensor) -> Tensor:
    s = distribution.concentration * (log_z - torch.log(distribution.scale))
    return torch.log(distribution.concentration) + s - bounded_exp(s)


@_log_density.register
def _log_density_lognormal(distribution: LogNormal, log_z: Tensor) -> Tensor:
    s = (log_z - distribution.loc) / distribution.scale
    return -0.5 * s.square() - torch.log(distribution.scale) - 0.5 * math.log(2 * math.pi)


def log_expectation(
    log_function: Callable[[Tensor], Tensor], distribution: Distribution, turn: Tensor, fine: int = FINE
) -> Tensor:
    """Return log E[f(z)] in nats, in the shape of the batch; differentiable in the distribution and in f.

    Args:
        log_function: maps z `(n, D)` to log f(z); monotone, and nearly constant on one side of `turn`.
        distribution: any batch shape: a Gamma, Exponential, Weibull or LogNormal distribution, or a point.
        turn: the z at which f changes from one regime to the other, a scalar or in the shape of the batch.
        fine: number of nodes of the final rule.
    """
    if isinstance(distribution, Delta):
        return log_function(distribution.v)
    shape, distribution = distribution.batch_shape, flat(distribution)

    def integrand(log_z: Tensor) -> Tensor:
        return _log_density(distribution, log_z) + log_function(bounded_exp(log_z))

    def nodes(low: Tensor, high: Tensor, number: int) -> tuple[Tensor, Tensor]:
        unit = torch.linspace(0, 1, number, dtype=low.dtype, device=low.device).unsqueeze(-1)
        return low + (high - low) * unit, (high - low) / (number - 1)

    with torch.no_grad():
        of_log = moments(distribution)
        centre, reach = of_log.log_mean, REACH * of_log.log_variance.sqrt()
        low, high = torch.minimum(centre, turn.log()) - reach, torch.maximum(centre, turn.log()) + reach
        # a narrow density may lie between two nodes of a wide range
        (wide, wide_step), (near, near_step) = nodes(low, high, COARSE), nodes(centre - reach, centre + reach, NEAR)
        log_z, step = torch.cat([wide, near]), torch.cat([wide_step.expand_as(wide), near_step.expand_as(near)])
        value = integrand(log_z)
        there = value > value.amax(0) - REACH
        low = torch.where(there, log_z - step, torch.inf).amin(0)
        high = torch.where(there, log_z + step, -torch.inf).amax(0)
        log_z, step = nodes(low, high, fine)
    return (torch.logsumexp(integrand(log_z), 0) + torch.log(step)).reshape(shape)
