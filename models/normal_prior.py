"""The Normal prior, of a popularity on the real line."""

from typing import final

import torch
from pyro.distributions import Normal
from pyro_popbias.models.prior import PRIORS, PopularityPrior
from torch import Tensor
from torch.distributions import constraints


@final
@PRIORS.register("normal")
class NormalPrior(PopularityPrior):
    """z ~ Normal(0, 1): the model's slope and intercept carry scale and location."""

    family = Normal
    support = constraints.real
    location: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        # buffers go to the device with the model; constants need no place in its saved state
        self.register_buffer("location", torch.zeros((), dtype=torch.float64), persistent=False)
        self.register_buffer("scale", torch.ones((), dtype=torch.float64), persistent=False)

    def population(self) -> Normal:
        """Return Normal(0, 1)."""
        return Normal(self.location, self.scale)
