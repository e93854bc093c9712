"""g(z) = 1 - exp(-rate z)."""

import math
from typing import final

import torch
from torch import Tensor

from pyro_popbias.models.saturations.saturation import SATURATIONS, Saturation, SaturationConfig
from pyro_popbias.validation import Learnable

LOG_TWO = math.log(2.0)


class ExponentialSaturationConfig(SaturationConfig):
    """g(z) = 1 - exp(-rate z)."""

    rate: Learnable = 1.0


@final
@SATURATIONS.register("exponential")
class ExponentialSaturation(Saturation):
    """g(z) = 1 - exp(-rate z)."""

    parameter_name, config = "rate", ExponentialSaturationConfig

    @property
    def rate(self) -> Tensor:
        """The rate lambda > 0."""
        return self.parameter

    @property
    def slope(self) -> Tensor:
        """g'(0) = rate."""
        return self.parameter

    def __call__(self, z: Tensor) -> Tensor:
        """Return 1 - exp(-rate z)."""
        return -torch.expm1(-self.rate * z)

    def log(self, z: Tensor) -> Tensor:
        """Return log(1 - exp(-rate z))."""
        x = self.rate * z
        large = x > LOG_TWO  # there the gradient of log(-expm1(-x)) would be rounded away
        far = torch.log1p(-torch.exp(-torch.where(large, x, 1.0)))
        return torch.where(large, far, torch.log(-torch.expm1(-torch.where(large, 1.0, x))))

    def log_complement(self, z: Tensor) -> Tensor:
        """Return -rate z, exactly."""
        return -self.rate * z
