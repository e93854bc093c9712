"""Checks of single arguments, each in one place."""

from numbers import Integral
from typing import Any

from pyro_popbias.errors import ConfigError


def require_integer(name: str, value: Any, minimum: int, maximum: int | None = None, *, code: str = "PB-C084") -> int:
    """Return an integer argument as Python's own, or refuse it; integers of numpy are integers, booleans are not.

    Args:
        name: of the argument.
        value: what was given for it.
        minimum: least value that is allowed.
        maximum: largest value that is allowed; None for no bound.
        code: of the message.

    Raises:
        ConfigError: it is not an integer, or out of bounds.
    """
    if isinstance(value, Integral) and not isinstance(value, bool):
        number = int(value)
        if number >= minimum and (maximum is None or number <= maximum):
            return number
    bounds = f">= {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    raise ConfigError(f"{code}: {name} must be an integer {bounds}, not {value!r}")
