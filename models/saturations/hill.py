"""g(z) = z / (z + half)."""

from typing import final

import torch
from torch import Tensor

from pyro_popbias.models.saturations.saturation import SATURATIONS, Saturation, SaturationConfig
from pyro_popbias.validation import Learnable


class HillSaturationConfig(SaturationConfig):
    """g(z) = z / (z + half)."""

    half: Learnable = 1.0


@final
@SATURATIONS.register("hill")
class HillSaturation(Saturation):
    """g(z) = z / (z + half), which is 1/2 at z = half."""

    parameter_name, config = "half", HillSaturationConfig

    @property
    def half(self) -> Tensor:
        """The popularity C > 0 at which g is 1/2."""
        return self.parameter

    @property
    def slope(self) -> Tensor:
        """g'(0) = 1 / half."""
        return 1 / self.half

    def __call__(self, z: Tensor) -> Tensor:
        """Return z / (z + half)."""
        return z / (z + self.half)

    def at_log(self, log_z: Tensor) -> Tensor:
        """Return sigma(log z - log half), which overflows at neither end."""
        return torch.sigmoid(log_z - torch.log(self.half))

    def log(self, z: Tensor) -> Tensor:
        """Return log(z / (z + half))."""
        return _log_share(z, self.half)

    def log_complement(self, z: Tensor) -> Tensor:
        """Return log(half / (z + half))."""
        return _log_share(self.half, z)


def _log_share(part: Tensor, other: Tensor) -> Tensor:
    """Return log(part / (part + other)) of two positive numbers."""
    larger = part > other
    # log1p where the share is near 1; elsewhere the logarithms differ by log 2 at least, and do not cancel
    near = -torch.log1p(torch.where(larger, other, 1.0) / torch.where(larger, part, 1.0))
    return torch.where(larger, near, torch.log(part) - torch.log(part + other))
