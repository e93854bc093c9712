"""Choices of options of the command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, final

from pyro_popbias.errors import ConfigError

if TYPE_CHECKING:
    from pyro_popbias.fitted import Fit


class Unseen(StrEnum):
    """What to do with pairs of users or items that a fit has not seen."""

    error = "error"
    prior = "prior"
    drop = "drop"


class Candidates(StrEnum):
    """Which items a test ranks."""

    all = "all"
    test = "test"


class Vectors(StrEnum):
    """Which vectors an export has."""

    exact = "exact"
    approximate = "approximate"
    none = "none"


def popularity_mode(fit: "Fit", mode: str) -> str | float | dict[Any, float]:
    """Return a mode of popularity, the number that it is, the forecast, or the popularities of items at a share of their own.

    Args:
        fit: which has them.
        mode: what was asked for.

    Raises:
        ConfigError: the share is not a finite number, or the model has none.
    """
    name, sign, share = mode.partition("=")
    try:
        number = float(share if sign else mode)
    except ValueError:
        return mode
    if sign and name == "share":
        return fit.partial_popularity(number)
    return {"forecast": number} if name == "forecast" else mode if sign else number


@final
@dataclass(frozen=True)
class Part:
    """One of several parts of a list, one behind the other and as long as each other but for one.

    Attributes:
        number: of the part, from 1.
        parts: how many there are.
    """

    number: int
    parts: int

    def of(self, values: Sequence[Any]) -> list[Any]:
        """Return the part of some values, in their order."""
        first, end = (len(values) * k // self.parts for k in (self.number - 1, self.number))
        return list(values[first:end])


def part_of(shard: str | None) -> Part | None:
    """Return the part that i/n names; None for none.

    Raises:
        ConfigError: it is not i/n with 1 <= i <= n.
    """
    if shard is None:
        return None
    number, sign, parts = shard.partition("/")
    is_right = bool(sign) and number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)
    if not is_right:
        raise ConfigError(
            f"PB-C475: --shard {shard!r} is not i/n with 1 <= i <= n, such as 2/8: the second of eight parts of the users"
        )
    return Part(int(number), int(parts))
