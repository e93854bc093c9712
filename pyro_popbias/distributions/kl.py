"""Analytic KL(q || p) between distributions of popularity, by moments.

KL(q || p) = -H(q) - E_q[log p]. For the positive families here it needs four quantities of q: the entropy H, E[log z],
Var[log z] and log E[z^r]. So each family has one function of moments and one of cross entropy below, and every pair
follows. The pairs are registered with torch (`torch.distributions.kl_divergence`), and work for Pyro's subclasses too.

Sources: entropies and moments as in Johnson, Kotz & Balakrishnan, Continuous Univariate Distributions, vol. 1 (1994).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Exponential, Gamma, LogNormal, Weibull, register_kl

from pyro_popbias.distributions.special import (
    exp_minus_one_minus,
    log_gamma_remainder,
    trigamma,
)

EULER = 0.5772156649015329
LOG_TWO_PI = math.log(2 * math.pi)
FAMILIES = (Gamma, Exponential, LogNormal, Weibull)


@dataclass(frozen=True)
class Moments:
    """The quantities of q that a KL needs, each in the shape of the batch; the entropy is in nats."""

    entropy: Tensor
    log_mean: Tensor  # E[log z]
    variance_of_log: Callable[[], Tensor]  # asked for by few, and slow under a Gamma
    log_power: Callable[[Tensor], Tensor]  # r -> log E[z^r]

    @property
    def log_variance(self) -> Tensor:
        """Var[log z]."""
        return self.variance_of_log()


@singledispatch
def moments(q: Distribution) -> Moments:
    """Return the moments of a positive distribution.

    Raises:
        NotImplementedError: there are none for the family.
    """
    raise NotImplementedError(f"no moments for {type(q).__name__}")


@moments.register
def _moments_lognormal(q: LogNormal) -> Moments:
    entropy = q.loc + torch.log(q.scale) + 0.5 * (1 + LOG_TWO_PI)
    return Moments(entropy, q.loc, q.scale.square, lambda r: r * q.loc + 0.5 * (r * q.scale).square())


@moments.register
def _moments_gamma(q: Gamma) -> Moments:
    # by the remainder F of log Gamma: log Gamma(a) and a digamma(a) are huge for large a, and cancel
    a, (remainder, slope) = q.concentration, log_gamma_remainder(q.concentration)
    log_ratio = torch.log(a / q.rate)
    log_mean = log_ratio + slope

    def log_power(r: Tensor) -> Tensor:
        # log Gamma(a + r) - log Gamma(a) = F(a + r) - F(a) + r log a + (a + r) log(1 + r/a) - r
        bend = (a + r) * torch.log1p(r / a) - r
        return log_gamma_remainder(a + r)[0] - remainder + bend + r * log_ratio

    # H(log z) = F - a F'
    return Moments(remainder - a * slope + log_mean, log_mean, lambda: trigamma(a), log_power)


@moments.register
def _moments_exponential(q: Exponential) -> Moments:
    log_rate = torch.log(q.rate)
    return Moments(
        1 - log_rate,
        -EULER - log_rate,
        lambda: torch.full_like(log_rate, math.pi**2 / 6),
        lambda r: torch.lgamma(1 + r) - r * log_rate,
    )


@moments.register
def _moments_weibull(q: Weibull) -> Moments:
    log_scale, k = torch.log(q.scale), q.concentration
    entropy = EULER * (1 - 1 / k) + log_scale - torch.log(k) + 1
    return Moments(
        entropy,
        log_scale - EULER / k,
        lambda: (math.pi / k).square() / 6,
        lambda r: r * log_scale + torch.lgamma(1 + r / k),
    )


@singledispatch
def cross_entropy(p: Distribution, q: Moments) -> Tensor:
    """Return -E_q[log p(z)] in nats, in the broadcast shape of both batches.

    Raises:
        NotImplementedError: there is no formula for the family of p.
    """
    raise NotImplementedError(f"no cross entropy to {type(p).__name__}")


@cross_entropy.register
def _cross_lognormal(p: LogNormal, q: Moments) -> Tensor:
    spread = q.log_variance + (q.log_mean - p.loc).square()
    return q.log_mean + torch.log(p.scale) + 0.5 * LOG_TWO_PI + spread / (2 * p.scale.square())


@cross_entropy.register
def _cross_gamma(p: Gamma, q: Moments) -> Tensor:
    # -E[log p] = F(a) + E log z + a (e^t - 1 - d), with d = E log z - log(a/b) and t = log E z - log(a/b): log Gamma(a) and
    # a log b are huge for large a, and cancel
    a, log_ratio = p.concentration, torch.log(p.concentration / p.rate)
    log_of_mean = q.log_power(torch.ones_like(a))
    of_mean, of_log = log_of_mean - log_ratio, q.log_mean - log_ratio
    far = of_mean > 1.0  # nothing cancels in the value, and a (e^t - 1) would in its gradient: a e^t = b E z
    near = exp_minus_one_minus(torch.where(far, 1.0, of_mean)) + (torch.where(far, 1.0, of_mean) - of_log)
    beyond = torch.exp(torch.log(p.rate) + log_of_mean) - a * (1 + of_log)
    return log_gamma_remainder(a)[0] + q.log_mean + torch.where(far, beyond, a * near)


@cross_entropy.register
def _cross_exponential(p: Exponential, q: Moments) -> Tensor:
    log_rate = torch.log(p.rate)
    return torch.exp(log_rate + q.log_power(torch.ones_like(log_rate))) - log_rate


@cross_entropy.register
def _cross_weibull(p: Weibull, q: Moments) -> Tensor:
    log_scale, k = torch.log(p.scale), p.concentration
    return k * log_scale - torch.log(k) - (k - 1) * q.log_mean + torch.exp(q.log_power(k) - k * log_scale)


def _by_moments(q: Distribution, p: Distribution) -> Tensor:
    q_moments = moments(q)
    return cross_entropy(p, q_moments) - q_moments.entropy


def _gamma_gamma(q: Gamma, p: Gamma) -> Tensor:
    # torch's own form cancels for large shapes (float32: .56 off at shape 1e6 where the KL is .005);
    # with rho the ratio of means and F the remainder of log Gamma both terms are >= 0:
    # KL = a_p (rho - 1 - log rho) + F(a_p) - F(a_q) - (a_p - a_q) F'(a_q)
    a, b = q.concentration, p.concentration
    log_ratio = torch.log((a / b) * (p.rate / q.rate))
    (remainder_q, slope_q), (remainder_p, _) = log_gamma_remainder(a), log_gamma_remainder(b)
    return b * exp_minus_one_minus(log_ratio) + remainder_p - remainder_q - (b - a) * slope_q


def _in_double(distribution: Distribution) -> Distribution:
    """Return a distribution with its parameters in float64, unchanged if they are already."""
    arguments = {name: getattr(distribution, name) for name in distribution.arg_constraints}
    if all(argument.dtype is torch.float64 for argument in arguments.values()):
        return distribution
    return type(distribution)(**{name: argument.double() for name, argument in arguments.items()}, validate_args=False)


def _rounded_once(divergence: Callable[[Any, Any], Tensor]) -> Callable[[Distribution, Distribution], Tensor]:
    """Return a divergence computed in float64 and rounded once, to the precision of its distributions.

    Terms grow with the shape parameters and cancel: in float32 a sum of terms of size 1e7 has no correct digit of a KL of 1.
    """

    def of(q: Distribution, p: Distribution) -> Tensor:
        value = divergence(_in_double(q), _in_double(p))
        return value.to(torch.promote_types(_dtype(q), _dtype(p)))

    return of


def _dtype(distribution: Distribution) -> torch.dtype:
    dtype: torch.dtype = getattr(distribution, next(iter(distribution.arg_constraints))).dtype
    return dtype


STABLE_IN_TORCH = {(Exponential, Exponential), (LogNormal, LogNormal)}

for _q, _p in product(FAMILIES, FAMILIES):
    if (_q, _p) not in STABLE_IN_TORCH:
        register_kl(_q, _p)(_rounded_once(_gamma_gamma if _q is _p is Gamma else _by_moments))
