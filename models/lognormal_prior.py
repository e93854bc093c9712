"""The LogNormal prior."""

from typing import final

import torch
from pyro.distributions import LogNormal
from pyro_popbias.models.prior import PRIORS, ConcentratedPrior
from torch.distributions import constraints
from torch.nn.functional import softplus


@final
@PRIORS.register("lognormal")
class LogNormalPrior(ConcentratedPrior):
    """z ~ LogNormal(-s^2/2, s) with s^2 = log(1 + 1/a): E[z] = 1, Var z = 1/a.

    Args:
        concentration: a > 0; None learns it.
    """

    family = LogNormal
    support = constraints.positive

    def population(self) -> LogNormal:
        """Return LogNormal(-s^2/2, s)."""
        # log(1 + 1/a)
        variance = softplus(-self.log_concentration)
        return LogNormal(-0.5 * variance, torch.sqrt(variance))
