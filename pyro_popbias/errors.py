"""The errors of the package: every one says what, where, how many, and what to do.

Each class also derives from the builtin a caller would guess, and carries the exit code of the command line.
A message opens with a code, `PB-` + a letter (D data, C study or call, N numerical, R run folder) + a number; the page
"Error codes" of the documentation, `docs/errors.md`, lists them all.
"""

from typing import ClassVar

MOST_SHOWN = 120  # characters of a value


def shown(value: object) -> str:
    """Return a value as messages show it: its repr on one line, cut where it is long, or its type where it has no repr."""
    try:
        text = " ".join(repr(value).split())
    except (RecursionError, ValueError):  # nested too deep; an integer of thousands of digits
        return f"a value of type {type(value).__name__} that is too large to print"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}... ({len(text):,} characters)"


class PopBiasError(Exception):
    """Base of all errors that the package raises on purpose."""

    exit_code: ClassVar[int] = 1
    __str__ = Exception.__str__  # KeyError would print the quotes of the message


class DataError(PopBiasError, ValueError):
    """The interactions, ids or labels cannot be used as they are."""

    exit_code = 3


class DataWarning(UserWarning):
    """The data can be used, but are probably not what was meant."""


class ConfigError(PopBiasError, ValueError):
    """A study, an option or an argument is wrong."""

    exit_code = 2


class UnknownNameError(ConfigError, KeyError):
    """A name is not registered; the message suggests the nearest one that is."""


class IncompatibleError(ConfigError):
    """Two parts of a study do not fit together, such as a guide and a prior."""


class NumericalError(PopBiasError, ArithmeticError):
    """Training met a loss or gradient that is not finite and could not recover."""

    exit_code = 4


class CheckpointError(PopBiasError, RuntimeError):
    """A saved run or checkpoint does not fit what it is opened for."""

    exit_code = 5


class CorruptCheckpointError(CheckpointError):
    """A saved file differs from what was written."""


class UnsafeFileError(CheckpointError):
    """A saved file is not what this package writes: a link, a pipe, larger than its content can need, or compressed far."""


class SchemaVersionError(CheckpointError):
    """A saved run has a schema that this version cannot read."""


class RunFolderError(PopBiasError, OSError):
    """A folder or file cannot be read or written."""

    exit_code = 5


class LostRankError(PopBiasError, RuntimeError):
    """Another process of the same fit was killed, ended or does not answer."""

    exit_code = 7


class RunLockedError(RunFolderError):
    """Another process is writing to the run folder."""


class WorkerError(PopBiasError, RuntimeError):
    """A process that worked for this one ended without a result."""


class CheckFailed(PopBiasError):
    """A check of a fit failed."""

    exit_code = 6
