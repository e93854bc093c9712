"""The Exponential prior."""

from typing import final

import torch
from pyro.distributions import Exponential
from pyro_popbias.models.prior import PRIORS, PopularityPrior
from torch import Tensor
from torch.distributions import constraints


@final
@PRIORS.register("exponential")
class ExponentialPrior(PopularityPrior):
    """z ~ Exponential(1): E[z] = 1, Var z = 1; nothing is learned."""

    family = Exponential
    support = constraints.positive
    rate: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rate", torch.ones((), dtype=torch.float64), persistent=False)

    def population(self) -> Exponential:
        """Return Exponential(1)."""
        return Exponential(self.rate)
