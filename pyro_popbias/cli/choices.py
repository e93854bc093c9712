"""Choices of options of the command line."""

from enum import StrEnum


class Unseen(StrEnum):
    """What to do with pairs of users or items that a fit has not seen."""

    error = "error"
    prior = "prior"
    drop = "drop"


class Candidates(StrEnum):
    """Which items a test ranks."""

    all = "all"
    test = "test"


def popularity_mode(mode: str) -> str | float | dict[str, float]:
    """Return a mode of popularity, the number that it is, or the forecast."""
    name, sign, share = mode.partition("=")
    try:
        return {"forecast": float(share)} if sign and name == "forecast" else float(mode)
    except ValueError:
        return mode
