"""What a page is not there for."""

from typing import final


@final
class NotHere(Exception):
    """An id that the fit does not know.

    Attributes:
        kind: item or user.
        asked: the id.
    """

    def __init__(self, kind: str, asked: str) -> None:
        super().__init__(kind, asked)
        self.kind, self.asked = kind, asked
