"""The Gamma prior."""

from typing import final

from pyro.distributions import Gamma
from pyro_popbias.models.prior import PRIORS, ConcentratedPrior
from torch.distributions import constraints


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
