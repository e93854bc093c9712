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

from typing import ClassVar, Self

import torch
from torch import Tensor

from pyro_popbias.distributions.special import bounded_exp
from pyro_popbias.registry import Registry, Variant
from pyro_popbias.validation import PartConfig


class SaturationConfig(PartConfig):
    """Base of the sections of saturations; each adds the key of its parameter, a number or "learned"."""


class Saturation(Variant):
    """One increasing map of popularity with one positive parameter.

    Args:
        parameter: a positive float or tensor; a tensor's dtype is kept.

    Attributes:
        parameter_name: of the parameter in tables.
        config: the section that holds its keys in a study; one bears the parameter's name, and is a number or "learned".
        bounded: whether g < 1, so that it can be a factor of a probability.
    """

    required: ClassVar[tuple[str, ...]] = ("parameter_name", "config", "slope", "log", "log_complement", "__call__")
    parameter_name: ClassVar[str]
    config: ClassVar[type[SaturationConfig]]
    bounded: ClassVar[bool] = True

    def __init__(self, parameter: float | Tensor) -> None:
        self.parameter = (
            parameter if isinstance(parameter, Tensor) else torch.tensor(float(parameter), dtype=torch.float64)
        )

    @classmethod
    def from_config(cls, config: SaturationConfig) -> tuple[Self, bool]:
        """Return the saturation that a section declares, and whether its parameter is learned, from 1 on."""
        parameter = getattr(config, cls.parameter_name)
        learned = parameter == "learned"
        return cls(1.0 if learned else parameter), learned

    @property
    def slope(self) -> Tensor:
        """g'(0)."""
        raise NotImplementedError

    def log(self, z: Tensor) -> Tensor:
        """Return log g(z), shaped as z."""
        raise NotImplementedError

    def log_complement(self, z: Tensor) -> Tensor:
        """Return log(1 - g(z)), shaped as z."""
        raise NotImplementedError

    def __call__(self, z: Tensor) -> Tensor:
        """Return g(z), shaped as z."""
        raise NotImplementedError

    def at_log(self, log_z: Tensor) -> Tensor:
        """Return g(exp(log_z)), shaped as `log_z`."""
        return self(bounded_exp(log_z))


SATURATIONS: Registry[Saturation] = Registry("saturation", "pyro_popbias.saturations", Saturation)
