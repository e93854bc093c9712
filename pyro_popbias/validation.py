"""Checks of arguments."""

from numbers import Integral
from typing import Any

from pyro_popbias.errors import ConfigError


def require_integer(name: str, value: Any, minimum: int, maximum: int | None = None, *, code: str = "PB-C084") -> int:
    """Return an integer argument as an int; NumPy integers are accepted, booleans are not.

    Args:
        name: name of the argument.
        value: the value that was given.
        minimum: smallest value allowed.
        maximum: largest value allowed; None for no upper bound.
        code: error code of the message.

    Raises:
        ConfigError: the value is not an integer, or out of range.
    """
    if isinstance(value, Integral) and not isinstance(value, bool):
        number = int(value)
        if number >= minimum and (maximum is None or number <= maximum):
            return number
    bounds = f">= {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    raise ConfigError(f"{code}: {name} must be an integer {bounds}, not {value!r}")
