"""Saturations g: increasing maps of popularity z > 0 with g(0) = 0, into (0, 1) but for the power.

Each gives log g and log(1 - g) without cancellation, so that likelihoods stay in logarithms. A saturation is a plain
value; a learned one is made anew at each step from the model's parameter. Its expectations are in
`saturation_expectations`.

| class | g(z) | g'(0) | parameter |
| --- | --- | --- | --- |
| `ExponentialSaturation` | 1 - exp(-rate z) | rate | rate |
| `HillSaturation` | z / (z + half) | 1 / half | half |
| `TanhSaturation` | tanh(rate z / 2) | rate / 2 | rate |
| `PowerSaturation` | z^exponent | 0, 1 or infinite | exponent |
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, final

import torch
from torch import Tensor

from pyro_popbias.distributions.special import bounded_exp

LOG_TWO = math.log(2.0)


class Saturation(ABC):
    """One increasing map of popularity with one positive parameter.

    Args:
        parameter: a positive float or tensor; a tensor's dtype is kept.
    """

    parameter_name: ClassVar[str]

    def __init__(self, parameter: float | Tensor) -> None:
        self.parameter = (
            parameter if isinstance(parameter, Tensor) else torch.tensor(float(parameter), dtype=torch.float64)
        )

    @property
    @abstractmethod
    def slope(self) -> Tensor:
        """g'(0)."""

    @abstractmethod
    def log(self, z: Tensor) -> Tensor:
        """Return log g(z), shaped as z."""

    @abstractmethod
    def log_complement(self, z: Tensor) -> Tensor:
        """Return log(1 - g(z)), shaped as z."""

    @abstractmethod
    def __call__(self, z: Tensor) -> Tensor:
        """Return g(z), shaped as z."""

    def at_log(self, log_z: Tensor) -> Tensor:
        """Return g(exp(log_z)), shaped as `log_z`."""
        return self(bounded_exp(log_z))


@final
class ExponentialSaturation(Saturation):
    """g(z) = 1 - exp(-rate z)."""

    parameter_name = "rate"

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


def _log_share(part: Tensor, other: Tensor) -> Tensor:
    """Return log(part / (part + other)) of two positive numbers."""
    larger = part > other
    # log1p where the share is near 1; elsewhere the logarithms differ by log 2 at least, and do not cancel
    near = -torch.log1p(torch.where(larger, other, 1.0) / torch.where(larger, part, 1.0))
    return torch.where(larger, near, torch.log(part) - torch.log(part + other))


@final
class HillSaturation(Saturation):
    """g(z) = z / (z + half), which is 1/2 at z = half."""

    parameter_name = "half"

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
        """Return sigma(log z - log half), of which neither end overflows."""
        return torch.sigmoid(log_z - torch.log(self.half))

    def log(self, z: Tensor) -> Tensor:
        """Return log(z / (z + half))."""
        return _log_share(z, self.half)

    def log_complement(self, z: Tensor) -> Tensor:
        """Return log(half / (z + half))."""
        return _log_share(self.half, z)


@final
class TanhSaturation(Saturation):
    """g(z) = tanh(rate z / 2) = 2 sigma(rate z) - 1."""

    parameter_name = "rate"

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


@final
class PowerSaturation(Saturation):
    """g(z) = z^exponent, without an upper bound: a weight of a ranking score, and no probability.

    Its expectations are closed forms under every positive law here.
    """

    parameter_name = "exponent"

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
        raise NotImplementedError("log(1 - z^exponent) is no number for z > 1: a power is no probability")
