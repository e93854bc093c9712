"""Closed forms of E[g(z)] under the laws of popularity; the pairs that are not here are integrated numerically.

The alternating series of the hyperbolic tangent is summed by the weights of Cohen, Rodriguez Villegas and Zagier 2000,
Convergence acceleration of alternating series, Experimental Mathematics 9.
"""

from fractions import Fraction
from functools import cache

import torch
from pyro.distributions import Delta
from pyro_popbias.models.saturation import (
    ExponentialSaturation,
    HillSaturation,
    PowerSaturation,
    Saturation,
    TanhSaturation,
)
from torch import Tensor
from torch.distributions import Exponential, Gamma, LogNormal, Weibull

from pyro_popbias.distributions.expectation import register_expectation
from pyro_popbias.distributions.kl import moments
from pyro_popbias.distributions.logistic import logistic_normal

TERMS = 16  # an error below 2 * 5.83^-16 = 1.1e-12, for every law on the positive numbers


@register_expectation(ExponentialSaturation, Gamma)
def _exponential_gamma(g: ExponentialSaturation, z: Gamma) -> Tensor:
    # E[1 - e^(-lz)] = 1 - (b / (b + l))^a
    return -torch.expm1(-z.concentration * torch.log1p(g.rate / z.rate))


@register_expectation(ExponentialSaturation, Exponential)
def _exponential_exponential(g: ExponentialSaturation, z: Exponential) -> Tensor:
    # E[1 - e^(-lz)] = l / (b + l)
    return g.rate / (z.rate + g.rate)


@register_expectation(HillSaturation, LogNormal)
def _hill_lognormal(g: HillSaturation, z: LogNormal) -> Tensor:
    # z / (z + C) = sigma(log z - log C)
    return logistic_normal(z.loc - torch.log(g.half), z.scale)


@register_expectation(Saturation, Delta)
def _any_delta(g: Saturation, z: Delta) -> Tensor:
    return g(z.v)


@cache
def alternating_weights(terms: int) -> tuple[float, ...]:
    """Return w with sum_k w_k a_k close to sum_k (-1)^k a_k over all k, for moments a_k of a law on [0, 1]."""
    before, total = 1, 3
    for _ in range(terms - 1):
        before, total = total, 6 * total - before  # Chebyshev's T_n(3) = ((3 + sqrt 8)^n + (3 - sqrt 8)^n) / 2
    term, partial, weights = Fraction(-1), Fraction(-total), []
    for k in range(terms):
        partial = term - partial
        weights.append(float(partial / total))
        term *= Fraction(2 * (k + terms) * (k - terms), (2 * k + 1) * (k + 1))
    return tuple(weights)


def _tanh_series(rate: Tensor, concentration: Tensor, law_rate: Tensor) -> Tensor:
    # tanh(lz/2) = 1 + 2 sum_{k>0} (-1)^k e^(-klz), so E = -2 sum_{k>0} (-1)^k (1 - (1 + kl/b)^(-a)) by Abel's summation
    ratio = (rate / law_rate).unsqueeze(-1)
    k = torch.arange(1, TERMS, dtype=ratio.dtype, device=ratio.device)
    complement = -torch.expm1(-concentration.unsqueeze(-1) * torch.log1p(k * ratio))
    return -2 * (ratio.new_tensor(alternating_weights(TERMS)[1:]) * complement).sum(-1)


@register_expectation(TanhSaturation, Gamma)
def _tanh_gamma(g: TanhSaturation, z: Gamma) -> Tensor:
    return _tanh_series(g.rate, z.concentration, z.rate)


@register_expectation(TanhSaturation, Exponential)
def _tanh_exponential(g: TanhSaturation, z: Exponential) -> Tensor:
    return _tanh_series(g.rate, torch.ones_like(z.rate), z.rate)


@register_expectation(PowerSaturation, Gamma)
@register_expectation(PowerSaturation, Exponential)
@register_expectation(PowerSaturation, LogNormal)
@register_expectation(PowerSaturation, Weibull)
def _power(g: PowerSaturation, z: Gamma | Exponential | LogNormal | Weibull) -> Tensor:
    return torch.exp(moments(z).log_power(g.exponent))
