"""The numbers that `simulate` takes, checked."""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from pyro_popbias.errors import ConfigError
from pyro_popbias.validation import require_integer


@dataclass(frozen=True)
class Numbers:
    """Numbers of a simulated world, as `simulate` names and explains them.

    Raises:
        ConfigError: one is outside its range.
    """

    concentration: float
    rate: float
    exposure: float
    exposure_dispersion: float | None
    quality: float
    quality_correlation: float
    user_bias: float
    drift: float | None = None
    intercept: float | None = None
    confounding: float = 0.0
    activity: float = 0.0

    def __post_init__(self) -> None:
        """Refuse numbers outside their ranges."""
        if not (_is_positive(self.concentration) and _is_positive(self.rate)):
            given = f"{self.concentration!r}, {self.rate!r}"
            raise ConfigError(f"PB-C083: concentration and rate must be above 0 and finite, not {given}")
        if not _is_finite(self.exposure):
            raise ConfigError(f"PB-C083: exposure must be a finite number, not {self.exposure!r}")
        if not (self.exposure_dispersion is None or _is_positive(self.exposure_dispersion)):
            raise ConfigError(
                f"PB-C083: exposure_dispersion must be above 0 and finite, or None, not {self.exposure_dispersion!r}"
            )
        if not (self.drift is None or (_is_finite(self.drift) and self.drift >= 0)):
            raise ConfigError(f"PB-C083: drift must be 0 or above and finite, or None, not {self.drift!r}")
        if not (self.intercept is None or _is_finite(self.intercept)):
            raise ConfigError(f"PB-C083: intercept must be a finite number or None, not {self.intercept!r}")
        for name in ("quality", "user_bias", "activity"):
            if not (_is_finite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(f"PB-C083: {name} must be 0 or above and finite, not {getattr(self, name)!r}")
        for name in ("quality_correlation", "confounding"):
            if not (_is_finite(getattr(self, name)) and -1 < getattr(self, name) < 1):
                raise ConfigError(f"PB-C083: {name} must be above -1 and below 1, not {getattr(self, name)!r}")

    @property
    def weighs_items(self) -> bool:
        """Whether some items are shown more often than others."""
        return self.exposure != 0 or self.exposure_dispersion is not None


def check_sizes(*, seed: Any, **sizes: Any) -> None:
    """Refuse sizes that are no positive integers, and a seed that is no integer from 0 on."""
    for name, size in sizes.items():
        require_integer(name, size, 1)
    require_integer("seed", seed, 0)


def _is_positive(number: Any) -> bool:
    return _is_finite(number) and number > 0


def _is_finite(number: Any) -> bool:
    return isinstance(number, Real) and not isinstance(number, bool) and bool(np.isfinite(float(number)))
