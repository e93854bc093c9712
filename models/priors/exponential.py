"""The Exponential prior."""

from typing import Self, final

import torch
from pyro.distributions import Exponential
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.models.priors.config import ExponentialPriorConfig
from pyro_popbias.models.priors.prior import PRIORS, SharedPrior


@final
@PRIORS.register("exponential")
class ExponentialPrior(SharedPrior):
    """z ~ Exponential(1): E[z] = 1, Var z = 1; nothing is learned."""

    family = Exponential
    config = ExponentialPriorConfig
    support = constraints.positive
    rate: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rate", torch.ones((), dtype=torch.float64), persistent=False)

    @classmethod
    def from_config(cls, config: ExponentialPriorConfig) -> Self:
        """Return the prior; it has no keys of its own."""
        return cls()

    def draw_from_prior(self) -> None:
        """Draw nothing: nothing is learned."""

    def population(self) -> Exponential:
        """Return Exponential(1)."""
        return Exponential(self.rate)

    @classmethod
    def near(cls, distribution: Distribution) -> Exponential:
        """Return the Exponential distribution with the same mean: its one number leaves no choice of the spread."""
        return Exponential(1 / distribution.mean)

    @classmethod
    def with_moments(cls, mean: Tensor, variance: Tensor) -> Exponential:
        """Return Exponential(1 / mean), whose variance is mean^2 whatever is asked for."""
        return Exponential(1 / mean)
