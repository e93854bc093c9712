"""g(z) = tanh(rate z / 2)."""

import math
from typing import final

import torch
from torch import Tensor

from pyro_popbias.models.saturations.saturation import SATURATIONS, Saturation, SaturationConfig
from pyro_popbias.validation import Learnable

LOG_TWO = math.log(2.0)


class TanhSaturationConfig(SaturationConfig):
    """g(z) = tanh(rate z / 2)."""

    rate: Learnable = 1.0


@final
@SATURATIONS.register("tanh")
class TanhSaturation(Saturation):
    """g(z) = tanh(rate z / 2) = 2 sigma(rate z) - 1."""

    parameter_name, config = "rate", TanhSaturationConfig

    @property
    def rate(self) -> Tensor:
        """The rate lambda > 0."""
        return self.parameter

    @property
    def slope(self) -> Tensor:
        """g'(0) = rate / 2."""
        return 0.5 * self.rate

    def __call__(self, z: Tensor) -> Tensor:
        """Return tanh(rate z / 2)."""
        return torch.tanh(0.5 * self.rate * z)

    def log(self, z: Tensor) -> Tensor:
        """Return log tanh(rate z / 2)."""
        x = self.rate * z
        large = x > 1.0  # there tanh rounds to 1, and its gradient to 0
        tail = torch.exp(-torch.where(large, x, 1.0))
        # tanh(x/2) = (1 - e^(-x)) / (1 + e^(-x))
        far = torch.log1p(-tail) - torch.log1p(tail)
        return torch.where(large, far, torch.log(torch.tanh(0.5 * torch.where(large, 1.0, x))))

    def log_complement(self, z: Tensor) -> Tensor:
        """Return log(1 - tanh(rate z / 2))."""
        x = self.rate * z
        large = x > 1.0
        # 1 - tanh(x/2) = 2 e^(-x) / (1 + e^(-x)), whose logarithm cancels where x is small
        far = LOG_TWO - x - torch.log1p(torch.exp(-torch.where(large, x, 1.0)))
        return torch.where(large, far, torch.log1p(-torch.tanh(0.5 * torch.where(large, 1.0, x))))
