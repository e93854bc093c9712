"""Which columns of a table hold users, items, labels and times: as given, or guessed by their names."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

import pandas as pd

from pyro_popbias.data.frames import as_times, check_columns
from pyro_popbias.errors import DataError

# names by role, the likeliest first, without case and signs, and for ids without the end: user_id and "User ID" are "user"
# fmt: off
NAMES = {
    "user": ["user", "u", "username", "customer", "visitor", "reviewer", "member", "account", "client", "session"],
    "item": [
        "item", "i", "movie", "film", "product", "asin", "article", "news", "video", "book", "isbn", "song", "track", "artist",
        "business", "content", "sku", "ad",
    ],
    "label": [
        "label", "rating", "ratings", "userrating", "stars", "overall", "click", "clicked", "clicks", "isclick", "isclicked",
        "like", "liked", "islike", "isliked", "purchase", "purchased", "converted", "conversion", "reward", "feedback", "target",
    ],
    "time": ["time", "timestamp", "ts", "datetime", "date", "when", "eventtime", "createdat", "unixreviewtime", "unixtime"],
}
# fmt: on
REQUIRED = ("user", "item")


@dataclass(frozen=True)
class Columns:
    """The column of each role in a table.

    Attributes:
        user: ids of users.
        item: ids of items.
        label: labels or ratings; None where there is no such column.
        time: times; None where there is no such column.
        others: the columns that none of these is.
    """

    user: str
    item: str
    label: str | None = None
    time: str | None = None
    others: tuple[str, ...] = ()

    @classmethod
    def of(cls, frame: pd.DataFrame, given: Mapping[str, str | None], source: str) -> Self:
        """Return the columns of a table.

        Args:
            frame: the table.
            given: columns by role, "user", "item", "label" and "time"; None, or left out, is guessed.
            source: what the table is called in messages.

        Raises:
            DataError: a column that is given is not there, or none of users or of items can be found.
        """
        known = {role: name for role, name in given.items() if name is not None}
        try:
            check_columns(frame, known.values())
        except DataError as error:
            raise DataError(f"{error} (in {source})") from None
        known = cls.guessed(frame, known)
        for role in REQUIRED:
            if role not in known:
                shown = ", ".join(repr(str(column)) for column in frame.columns)
                raise DataError(
                    f"PB-D395: no column of {role}s could be found by its name in {source}; give it as --{role} COLUMN. "
                    f"Columns: {shown}"
                )
        others = tuple(str(column) for column in frame.columns if column not in known.values())
        return cls(**known, others=others)

    @staticmethod
    def guessed(frame: pd.DataFrame, known: Mapping[str, str]) -> dict[str, str]:
        """Return the column of each role that is known, or that a name tells.

        Args:
            frame: the table.
            known: columns by role that are no matter of guessing.
        """
        found = dict(known)
        for role in NAMES:
            guess = _guess(frame, role, taken=found.values()) if role not in found else None
            if guess is not None:
                found[role] = guess
        return found


def _guess(frame: pd.DataFrame, role: str, *, taken: Collection[str]) -> str | None:
    """Return the column whose name is the likeliest of a role; None where no name is one of its names."""
    named: dict[str, str] = {}
    for column in map(str, frame.columns):
        if column not in taken:
            named.setdefault(_plain(column, ends=role in REQUIRED), column)
    found = [named[name] for name in NAMES[role] if name in named]
    if role == "time":  # a column of text, or one with gaps, would only be refused
        found = [column for column in found if _holds_times(frame[column])]
    return found[0] if found else None


def _plain(column: str, *, ends: bool) -> str:
    """Return a name without case and signs, and without the end of a name of ids."""
    plain = re.sub(r"[^a-z0-9]", "", column.lower())
    return re.sub(r"(id|index|idx)$", "", plain) if ends else plain


def _holds_times(column: pd.Series) -> bool:
    """Return whether a column can be read as times."""
    try:
        as_times(column, "time")
    except DataError:
        return False
    return True
