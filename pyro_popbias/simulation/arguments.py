"""The numbers that `simulate` takes, checked."""

import sys
from dataclasses import dataclass
from numbers import Real
from typing import Any

from pyro_popbias.data.machine_memory import require_memory
from pyro_popbias.errors import ConfigError, shown
from pyro_popbias.validation import require_integer, require_seed

OF_ID, OF_ROW = 60, 32  # bytes: the text of an id; codes, label and time of a row


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
            given = f"{shown(self.concentration)}, {shown(self.rate)}"
            raise ConfigError(f"PB-C083: concentration and rate must be above 0 and finite, not {given}")
        if not _is_finite(self.exposure):
            raise ConfigError(f"PB-C083: exposure must be a finite number, not {shown(self.exposure)}")
        if not (self.exposure_dispersion is None or _is_positive(self.exposure_dispersion)):
            raise ConfigError(
                f"PB-C083: exposure_dispersion must be above 0 and finite, or None, not {shown(self.exposure_dispersion)}"
            )
        if not (self.drift is None or (_is_finite(self.drift) and self.drift >= 0)):
            raise ConfigError(f"PB-C083: drift must be 0 or above and finite, or None, not {shown(self.drift)}")
        if not (self.intercept is None or _is_finite(self.intercept)):
            raise ConfigError(f"PB-C083: intercept must be a finite number or None, not {shown(self.intercept)}")
        for name in ("quality", "user_bias", "activity"):
            if not (_is_finite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(f"PB-C083: {name} must be 0 or above and finite, not {shown(getattr(self, name))}")
        for name in ("quality_correlation", "confounding"):
            if not (_is_finite(getattr(self, name)) and -1 < getattr(self, name) < 1):
                raise ConfigError(f"PB-C083: {name} must be above -1 and below 1, not {shown(getattr(self, name))}")

    @property
    def weighs_items(self) -> bool:
        """Whether some items are shown more often than others."""
        return self.exposure != 0 or self.exposure_dispersion is not None


def check_sizes(*, seed: Any, **sizes: Any) -> None:
    """Refuse sizes that are no positive integers or too large for the machine, and a seed that is no integer from 0 on."""
    found = {name: require_integer(name, size, 1) for name, size in sizes.items()}
    require_seed(seed)
    users, items, rows = (found.get(name, 1) for name in ("users", "items", "interactions"))
    parts = {
        f"{users + items:,} users and items": (users + items) * (OF_ID + 8 * found.get("dim", 1)),
        f"{rows:,} rows": rows * OF_ROW,
        "popularity": items * found.get("periods", 1) * 8,
    }
    require_memory("this simulation", parts, "ask for less")


def _is_positive(number: Any) -> bool:
    return _is_finite(number) and number > 0


def _is_finite(number: Any) -> bool:
    # an integer may be larger than any float
    if not isinstance(number, int | Real) or isinstance(number, bool):
        return False
    size: Any = abs(number)
    return bool(size <= sys.float_info.max)
