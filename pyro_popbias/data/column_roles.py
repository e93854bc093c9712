"""Which columns of a table hold users, items, labels and times: as given, by their names, or by what is in them."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

import pandas as pd

from pyro_popbias.data.frames import as_times, check_columns, of_other_separators
from pyro_popbias.data.time_span import FIRST, LAST, UNITS
from pyro_popbias.errors import DataError

# names by role, the likeliest first, without case and signs, and for ids without the end: user_id and "User ID" are "user"
# fmt: off
NAMES = {
    "user": [
        "user", "u", "uid", "username", "customer", "visitor", "reviewer", "member", "account", "client", "viewer", "reader",
        "buyer", "session",
    ],
    "item": [
        "item", "i", "iid", "movie", "film", "product", "asin", "article", "news", "video", "book", "isbn", "song", "track",
        "artist", "business", "content", "sku", "ad",
    ],
    "label": [
        "label", "rating", "ratings", "userrating", "stars", "overall", "click", "clicked", "clicks", "isclick", "isclicked",
        "like", "liked", "islike", "isliked", "purchase", "purchased", "bought", "ordered",
        "converted", "conversion", "reward", "feedback", "target",
    ],
    "time": ["time", "timestamp", "ts", "datetime", "date", "when", "eventtime", "createdat", "unixreviewtime", "unixtime"],
}
# fmt: on
REQUIRED = ("user", "item")
GIVEN, NAMED, WORD, CONTENT = "as given", "found by its name", "found by a word of its name", "found by its content"
NUMBER = re.compile(r"[+-]?\d+(\.\d+)*")  # also "4.1", as pandas calls the second "4"
MOST_LABELS = 20  # values of a column that is taken for ratings by a word of its name
MOST_POINTS = 11  # and by its content: the largest scale that is common, from 0 to 10


@dataclass(frozen=True)
class Columns:
    """The column of each role in a table.

    Attributes:
        user: ids of users.
        item: ids of items.
        label: labels or ratings; None where there is no such column.
        time: times; None where there is no such column.
        others: the columns that none of these is.
        found: how the column of each role was found, in words.
    """

    user: str
    item: str
    label: str | None = None
    time: str | None = None
    others: tuple[str, ...] = ()
    found: Mapping[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, frame: pd.DataFrame, given: Mapping[str, str | None], source: str) -> Self:
        """Return the columns of a table.

        Args:
            frame: the table.
            given: columns by role, "user", "item", "label" and "time"; None, or left out, is guessed.
            source: what the table is called in messages.

        Raises:
            DataError: a column that is given is not there, none of users or of items can be found, or the table has data in
                place of names.
        """
        known = {role: name for role, name in given.items() if name is not None}
        try:
            check_columns(frame, known.values())
        except DataError as error:
            raise DataError(f"{error} (in {source})") from None
        found = dict.fromkeys(known, GIVEN)
        known = cls.guessed(frame, known)
        found |= dict.fromkeys(known.keys() - found.keys(), NAMED)
        for how, look in ((WORD, _by_word), (CONTENT, _by_content)):
            if how == CONTENT and known.keys() >= set(REQUIRED):
                break  # what has a name for its ids would have one for its labels
            for role in ("user", "item", "time", "label") if how != CONTENT else ("time", "label", "user", "item"):
                guess = None if role in known else look(frame, role, known.values())
                if guess is not None:
                    known[role], found[role] = guess, how
        for role in REQUIRED:
            if role not in known:
                present = [str(column) for column in frame.columns]
                raise DataError(
                    f"PB-D395: no column of {role}s could be found by name or content in {source}; give it as --{role} COLUMN. "
                    f"Columns: {', '.join(map(repr, present))}{of_other_separators(present)}"
                )
        if CONTENT in found.values():
            _require_names(frame, source)
        others = tuple(str(column) for column in frame.columns if column not in known.values())
        return cls(**known, others=others, found=found)

    @staticmethod
    def guessed(frame: pd.DataFrame, known: Mapping[str, str]) -> dict[str, str]:
        """Return the column of each role that is known, or that a name tells.

        Args:
            frame: the table.
            known: columns by role that are no matter of guessing.
        """
        found = dict(known)
        for role in NAMES:
            guess = _by_name(frame, role, found.values()) if role not in found else None
            if guess is not None:
                found[role] = guess
        return found


def _require_names(frame: pd.DataFrame, source: str) -> None:
    """Refuse a table whose names are numbers, other than 0, 1, 2, ..., which is what a first row of data looks like."""
    names = [str(column) for column in frame.columns]
    if all(NUMBER.fullmatch(name) for name in names) and names != [str(place) for place in range(len(names))]:
        raise DataError(
            f"PB-D397: the first row of {source} looks like data, not names of columns: {', '.join(map(repr, names))}; write "
            "a row of names above it, such as user,item,label,time, or, if these are names, give them as --user, --item, "
            "--label, --time"
        )


def _by_name(frame: pd.DataFrame, role: str, taken: Collection[str]) -> str | None:
    """Return the column whose name is the likeliest of a role; None where no name is one of its names."""
    named: dict[str, str] = {}
    for column in map(str, frame.columns):
        if column not in taken:
            named.setdefault(_plain(column, ends=role in REQUIRED), column)
    found = [named[name] for name in NAMES[role] if name in named]
    if role == "time":  # a column of text, or one with gaps, would only be refused
        found = [column for column in found if _holds_times(frame[column])]
    return found[0] if found else None


def _by_word(frame: pd.DataFrame, role: str, taken: Collection[str]) -> str | None:
    """Return the column with the likeliest word of a role in its name, and content that goes with it; None for none."""
    words = {column: _words(column) for column in map(str, frame.columns) if column not in taken}
    fits = FITS[role]
    for name in NAMES[role]:
        for column, of_column in words.items():
            if len(name) > 1 and name in of_column and fits(frame[column]):
                return column
    return None


def _by_content(frame: pd.DataFrame, role: str, taken: Collection[str]) -> str | None:
    """Return the only column that can be of times or labels, or the first one of ids; None where there is none, or several."""
    fits = {"time": _holds_unix_times, "label": _holds_points}.get(role, _holds_ids)
    found = [column for column in map(str, frame.columns) if column not in taken and fits(frame[column])]
    return found[0] if found and (role in REQUIRED or len(found) == 1) else None


def _plain(column: str, *, ends: bool) -> str:
    """Return a name without case and signs, and without the end of a name of ids."""
    plain = re.sub(r"[^a-z0-9]", "", column.lower())
    return re.sub(r"(id|index|idx)$", "", plain) if ends else plain


def _words(column: str) -> set[str]:
    """Return the words of a name: of "viewedItem_SKU" viewed, item and sku, and without the plural's s."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", column)
    return {each for word in map(str.lower, words) for each in (word, word.removesuffix("s"))}


def _holds_times(column: pd.Series) -> bool:
    """Return whether a column can be read as times."""
    try:
        as_times(column, "time")
    except DataError:
        return False
    return True


def _holds_unix_times(column: pd.Series) -> bool:
    """Return whether a column holds dates, or numbers that are Unix times in some unit."""
    if not len(column) or not _holds_times(column):
        return False
    middle = float(pd.Series(as_times(column, "time")).median())
    return any(FIRST <= middle / scale <= LAST for scale in UNITS.values())


def _holds_labels(column: pd.Series, most: int = MOST_LABELS) -> bool:
    """Return whether a column holds few numbers, as labels and ratings do."""
    is_number = pd.api.types.is_numeric_dtype(column.dtype) and not column.isna().any()
    return is_number and 2 <= column.nunique() <= min(most, len(column) - 1)


def _holds_points(column: pd.Series) -> bool:
    """Return whether a column holds points of a scale."""
    return _holds_labels(column, MOST_POINTS)


def _holds_ids(column: pd.Series) -> bool:
    """Return whether a column holds text or integers that are more than labels, and of which one stands for several rows."""
    kinds = pd.api.types.is_integer_dtype, pd.api.types.is_string_dtype, pd.api.types.is_object_dtype
    is_id = any(kind(column.dtype) for kind in kinds) or isinstance(column.dtype, pd.CategoricalDtype)
    return is_id and not column.isna().any() and 2 < column.nunique() < len(column)


FITS: Mapping[str, Callable[[pd.Series], bool]] = {
    "user": _holds_ids,
    "item": _holds_ids,
    "label": _holds_labels,
    "time": _holds_unix_times,
}
