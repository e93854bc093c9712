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
