"""The Gamma prior."""

from typing import final

import torch
from pyro.distributions import Gamma
from torch import Tensor
from torch import distributions as td
from torch.distributions import Distribution, constraints

from pyro_popbias.distributions.kl import moments
from pyro_popbias.distributions.special import inverse_trigamma
from pyro_popbias.models.priors.prior import PRIORS, ConcentratedPrior


@final
@PRIORS.register("gamma")
class GammaPrior(ConcentratedPrior):
    """z ~ Gamma(a, a): E[z] = 1, Var z = 1/a.

    Args:
        concentration: a > 0; None learns it.
    """

    family = Gamma
    support = constraints.positive

    def population(self) -> Gamma:
        """Return Gamma(a, a)."""
        concentration = self.log_concentration.exp()
        return Gamma(concentration, concentration)

    @classmethod
    def near(cls, distribution: Distribution) -> Gamma:
        """Return the Gamma distribution with the same mean and variance of log z; a Gamma distribution itself."""
        if isinstance(distribution, td.Gamma):
            return Gamma(distribution.concentration, distribution.rate)
        # Var log z = psi'(a), E log z = psi(a) - log(rate)
        of_log = moments(distribution)
        concentration = inverse_trigamma(of_log.log_variance)
        return Gamma(concentration, torch.exp(torch.digamma(concentration) - of_log.log_mean))

    @classmethod
    def with_moments(cls, mean: Tensor, variance: Tensor) -> Gamma:
        """Return Gamma(mean^2 / variance, mean / variance)."""
        return Gamma(mean.square() / variance, mean / variance)
