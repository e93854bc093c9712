"""z^exponent, of a ranking score."""

from typing import final

import torch
from torch import Tensor

from pyro_popbias.models.saturations.saturation import SATURATIONS, Saturation, SaturationConfig
from pyro_popbias.validation import Learnable


class PowerSaturationConfig(SaturationConfig):
    """z^exponent, of a ranking score."""

    exponent: Learnable = 1.0


@final
@SATURATIONS.register("power")
class PowerSaturation(Saturation):
    """g(z) = z^exponent, without an upper bound: a weight of a ranking score, not a probability.

    Its expectations are closed forms under every positive distribution here.
    """

    parameter_name, config = "exponent", PowerSaturationConfig
    bounded = False

    @property
    def exponent(self) -> Tensor:
        """The exponent gamma > 0."""
        return self.parameter

    @property
    def slope(self) -> Tensor:
        """g'(0), infinite for an exponent below 1, one at 1 and zero above; without gradient."""
        with torch.no_grad():
            return torch.pow(torch.zeros_like(self.exponent), self.exponent - 1)

    def __call__(self, z: Tensor) -> Tensor:
        """Return z^exponent."""
        return self.at_log(torch.log(z))

    def at_log(self, log_z: Tensor) -> Tensor:
        """Return exp(exponent log z)."""
        return torch.exp(self.exponent * log_z)

    def log(self, z: Tensor) -> Tensor:
        """Return exponent log z."""
        return self.exponent * torch.log(z)

    def log_complement(self, z: Tensor) -> Tensor:
        """Refuse.

        Raises:
            NotImplementedError: always, since 1 - z^exponent is negative for z > 1.
        """
        raise NotImplementedError("log(1 - z^exponent) is not a number for z > 1: a power is not a probability")
