"""Saturations g: increasing maps of popularity z > 0 into (0, 1) with g(0) = 0.

Each gives log g and log(1 - g) without cancellation, so that likelihoods stay in logarithms. A saturation is a plain
value; a learned one is made anew at each step from the model's parameter.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.distributions import Exponential, Gamma

from pyro_popbias.distributions.expectation import register_expectation

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
        """Return g(z), a probability, shaped as z."""

    def at_log(self, log_z: Tensor) -> Tensor:
        """Return g(exp(log_z)), shaped as `log_z`."""
        return self(torch.exp(log_z))


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


@register_expectation(ExponentialSaturation, Gamma)
def _exponential_gamma(g: ExponentialSaturation, z: Gamma) -> Tensor:
    # E[1 - e^(-lz)] = 1 - (b / (b + l))^a
    return -torch.expm1(-z.concentration * torch.log1p(g.rate / z.rate))


@register_expectation(ExponentialSaturation, Exponential)
def _exponential_exponential(g: ExponentialSaturation, z: Exponential) -> Tensor:
    # E[1 - e^(-lz)] = l / (b + l)
    return g.rate / (z.rate + g.rate)
