"""The Weibull prior, whose shape follows from its variance."""

import math
from typing import final

import torch
from pyro.distributions import Weibull
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import softplus

from pyro_popbias.distributions.kl import EULER, moments
from pyro_popbias.models.priors.prior import LARGEST_MEAN, PRIORS, ConcentratedPrior

INVERSE_STEPS = 30
NEWTON_STEPS = 3  # exact to rounding for a from 1e-6 to 1e6


def log_shape(log_concentration: Tensor) -> Tensor:
    """Return log k of the Weibull distribution with Var z / E[z]^2 = 1/a, differentiable once.

    Args:
        log_concentration: log a, any shape.
    """
    # with x = 1/k: h(x) = log Gamma(1 + 2x) - 2 log Gamma(1 + x) = log(1 + 1/a)
    target = torch.log(softplus(-log_concentration))
    with torch.no_grad():
        # h(x) is near (pi^2 / 6) x^2 for small x and 2 x log 2 for large
        w = torch.maximum(0.5 * (target - math.log(math.pi**2 / 6)), target - math.log(2 * math.log(2)))
        for _ in range(NEWTON_STEPS):
            value, slope = _log_excess(w)
            w = w - (value - target) / slope
        value, slope = _log_excess(w)
    # a last step with a gradient in the target alone is the derivative of the implicit function
    return -(w - (value - target) / slope)


def _log_excess(w: Tensor) -> tuple[Tensor, Tensor]:
    """Return log h(e^w) and its derivative in w, which is between 1 and 2: Newton's method is quick."""
    x = w.exp()
    h = torch.lgamma(1 + 2 * x) - 2 * torch.lgamma(1 + x)
    return torch.log(h), 2 * x * (torch.digamma(1 + 2 * x) - torch.digamma(1 + x)) / h


def _inverse_shape(matched: Tensor, most: Tensor) -> Tensor:
    """Return 1/k, as matched, or lower so that log E[z] - E log z = gamma_E / k + log Gamma(1 + 1/k) is `most` at most."""
    x = matched
    for _ in range(INVERSE_STEPS):
        # from above, Newton's method on a convex increasing function never goes below the root
        excess = (EULER * x + torch.lgamma(1 + x) - most).clamp(min=0.0)
        x = x - excess / (EULER + torch.digamma(1 + x))
    return x


@final
@PRIORS.register("weibull")
class WeibullPrior(ConcentratedPrior):
    """z ~ Weibull(1 / Gamma(1 + 1/k), k) with k such that E[z] = 1, Var z = 1/a.

    Args:
        concentration: a > 0; None learns it.
    """

    family = Weibull
    support = constraints.positive

    def population(self) -> Weibull:
        """Return Weibull(1 / Gamma(1 + 1/k), k)."""
        shape = log_shape(self.log_concentration).exp()
        return Weibull(torch.exp(-torch.lgamma(1 + 1 / shape)), shape)

    @classmethod
    def near(cls, distribution: Distribution) -> Weibull:
        """Return the Weibull with the same mean and variance of log z; its mean is at most twice the given one's."""
        # Var log z = pi^2 / (6 k^2), E log z = log(scale) - gamma_E / k
        of_log = moments(distribution)
        most = math.log(LARGEST_MEAN) + torch.log(distribution.mean) - of_log.log_mean
        shape = 1 / _inverse_shape(torch.sqrt(6 * of_log.log_variance) / math.pi, most)
        return Weibull(torch.exp(of_log.log_mean + EULER / shape), shape)

    @classmethod
    def with_moments(cls, mean: Tensor, variance: Tensor) -> Weibull:
        """Return the Weibull distribution with a mean and a variance of z."""
        shape = log_shape(torch.log(mean.square() / variance)).exp()
        return Weibull(mean * torch.exp(-torch.lgamma(1 + 1 / shape)), shape)
