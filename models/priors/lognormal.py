"""The LogNormal prior."""

import math
from typing import final

import torch
from pyro.distributions import LogNormal
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import softplus

from pyro_popbias.distributions.kl import moments
from pyro_popbias.models.priors.config import LogNormalPriorConfig
from pyro_popbias.models.priors.prior import LARGEST_MEAN, PRIORS, ConcentratedPrior


@final
@PRIORS.register("lognormal")
class LogNormalPrior(ConcentratedPrior):
    """z ~ LogNormal(-s^2/2, s) with s^2 = log(1 + 1/a): E[z] = 1, Var z = 1/a.

    Args:
        concentration: a > 0; None learns it.
    """

    family = LogNormal
    config = LogNormalPriorConfig
    support = constraints.positive

    def population(self) -> LogNormal:
        """Return LogNormal(-s^2/2, s)."""
        # log(1 + 1/a)
        variance = softplus(-self.log_concentration)
        return LogNormal(-0.5 * variance, torch.sqrt(variance))

    @classmethod
    def near(cls, distribution: Distribution) -> LogNormal:
        """Return the LogNormal with the same mean and variance of log z; its mean is at most twice the given one's."""
        of_log = moments(distribution)
        # log E[z] = E log z + Var log z / 2
        most = 2 * (math.log(LARGEST_MEAN) + torch.log(distribution.mean) - of_log.log_mean)
        return LogNormal(of_log.log_mean, torch.sqrt(torch.minimum(of_log.log_variance, most)))

    @classmethod
    def with_moments(cls, mean: Tensor, variance: Tensor) -> LogNormal:
        """Return LogNormal(log mean - s^2/2, s) with s^2 = log(1 + variance / mean^2)."""
        of_log = torch.log1p(variance / mean.square())
        return LogNormal(torch.log(mean) - 0.5 * of_log, torch.sqrt(of_log))
