"""The Normal prior, of a popularity on the real line."""

from typing import Self, final

import torch
from pyro.distributions import Normal
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.distributions.kl import moments
from pyro_popbias.models.priors.config import NormalPriorConfig
from pyro_popbias.models.priors.prior import PRIORS, SharedPrior


@final
@PRIORS.register("normal")
class NormalPrior(SharedPrior):
    """z ~ Normal(0, 1): the model's slope and intercept carry scale and location."""

    family = Normal
    config = NormalPriorConfig
    support = constraints.real
    location: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        # buffers go to the device with the model; constants need no place in its saved state
        self.register_buffer("location", torch.zeros((), dtype=torch.float64), persistent=False)
        self.register_buffer("scale", torch.ones((), dtype=torch.float64), persistent=False)

    @classmethod
    def from_config(cls, config: NormalPriorConfig) -> Self:
        """Return the prior; it has no keys of its own."""
        return cls()

    def draw_from_prior(self) -> None:
        """Draw nothing: nothing is learned."""

    def population(self) -> Normal:
        """Return Normal(0, 1)."""
        return Normal(self.location, self.scale)

    @classmethod
    def near(cls, distribution: Distribution) -> Normal:
        """Return the Normal distribution with the mean and variance of log popularity: z on the real line is in its place."""
        of_log = moments(distribution)
        return Normal(of_log.log_mean, torch.sqrt(of_log.log_variance))

    @classmethod
    def with_moments(cls, mean: Tensor, variance: Tensor) -> Normal:
        """Return Normal(mean, sqrt(variance))."""
        return Normal(mean, torch.sqrt(variance))

    @classmethod
    def population_like(cls, distribution: Distribution) -> Normal:
        """Return the Normal with the mean and variance of log popularity; slope and intercept carry any gauge."""
        return cls.near(distribution)
