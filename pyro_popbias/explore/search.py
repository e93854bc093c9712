"""Search by any part of an id or a title."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import pandas as pd

MOST = 50  # hits that are shown


@final
@dataclass(frozen=True, eq=False)
class Found:
    """Hits of a search.

    Attributes:
        number: how many there are.
        ids: the first of them.
    """

    number: int
    ids: tuple[str, ...]


@final
class Index:
    """What is searched: ids and titles in lower case.

    Attributes:
        ids: of users or items.
        names: their titles; empty texts without.
        rows: how often each was seen, which orders hits.
    """

    def __init__(self, ids: "pd.Index[str]", names: list[str], rows: np.ndarray) -> None:
        self.ids, self.names, self.rows = ids, names, rows

    @cached_property
    def _lower(self) -> list[tuple[str, str]]:
        return [(one.casefold(), name.casefold()) for one, name in zip(self.ids, self.names, strict=True)]

    def search(self, words: str) -> Found:
        """Return what holds the words: the id itself first, then what was seen most."""
        wanted = words.casefold()
        hits = np.array([wanted in one or wanted in name for one, name in self._lower], dtype=bool).nonzero()[0]
        is_id = np.array([self._lower[hit][0] == wanted for hit in hits], dtype=bool)
        first = hits[np.lexsort((hits, -self.rows[hits], ~is_id))][:MOST] if len(hits) else hits
        return Found(len(hits), tuple(self.ids[first]))
