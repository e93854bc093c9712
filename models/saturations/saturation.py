"""Saturations g: increasing maps of popularity z > 0 with g(0) = 0, into (0, 1) but for the power.

Each gives log g and log(1 - g) without cancellation, so that likelihoods stay in logarithms. A saturation is a plain
value; a learned one is made anew at each step from the model's parameter. Its expectations are in
`expectations.py`.

| class | g(z) | g'(0) | parameter |
| --- | --- | --- | --- |
| `ExponentialSaturation` | 1 - exp(-rate z) | rate | rate |
| `HillSaturation` | z / (z + half) | 1 / half | half |
| `TanhSaturation` | tanh(rate z / 2) | rate / 2 | rate |
| `PowerSaturation` | z^exponent | 0, 1 or infinite | exponent |
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from pyro_popbias.distributions.special import bounded_exp


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
