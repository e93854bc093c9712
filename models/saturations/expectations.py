"""Closed forms of E[g(z)] under the distributions of popularity; the pairs that are not here are integrated numerically."""

import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Exponential, Gamma, LogNormal, Weibull

from pyro_popbias.distributions.alternating import TERMS, alternating_weights
from pyro_popbias.distributions.expectation import register_expectation
from pyro_popbias.distributions.kl import moments
from pyro_popbias.distributions.logistic import logistic_normal
from pyro_popbias.models.saturations.exponential import ExponentialSaturation
from pyro_popbias.models.saturations.hill import HillSaturation
from pyro_popbias.models.saturations.power import PowerSaturation
from pyro_popbias.models.saturations.saturation import Saturation
from pyro_popbias.models.saturations.tanh import TanhSaturation


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


def _tanh_series(rate: Tensor, concentration: Tensor, distribution_rate: Tensor) -> Tensor:
    # tanh(lz/2) = 1 + 2 sum_{k>0} (-1)^k e^(-klz), so E = -2 sum_{k>0} (-1)^k (1 - (1 + kl/b)^(-a)) by Abel's summation
    ratio = (rate / distribution_rate).unsqueeze(-1)
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
