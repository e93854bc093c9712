"""One bad input: what it is, how it is given to the package, and what has to come back."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def nothing(folder: Path) -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Row:
    """A bad input, or one that must be accepted, with the answer that it must get.

    Attributes:
        number: of the row in the contract of bad inputs.
        what: the input in a few words.
        call: gets the row's folder and what `prepare` returned, and hands it to the package; None where only the
            command line can be given it.
        answer: class of the error or warning; None where the input must be accepted without either.
        message: regular expression that is searched for in what the error or warning says, on the command line, too.
        prepare: writes the files that the row needs into its folder, and returns what `call` is given.
        arguments: of `popbias`, with the row's folder as the working directory; None where it can't be given there.
        exit_code: of `popbias`.
    """

    number: int
    what: str
    call: Callable[[Path, Any], object] | None
    answer: type[Exception] | None
    message: str = ""
    prepare: Callable[[Path], Any] = nothing
    arguments: tuple[str, ...] | None = None
    exit_code: int = 0

    @property
    def name(self) -> str:
        """Return number and input in one word, as an id."""
        return f"{self.number:03}-{self.what.replace(' ', '-')}"
