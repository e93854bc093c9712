"""Which text may be an id, and ids that differ only in how they are written.

Results are written to CSV, Parquet, netCDF and HTML, and an id must come back from each as it was: control characters and
lone surrogates do not. What tells two ids apart must be seen by a reader, too, so that those that look alike are warned of.
"""

import re
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute as pc

from pyro_popbias.errors import DataError, DataWarning

LONGEST = 1024  # characters
CONTROL = "[\x00-\x1f\x7f-\x9f]"
ZERO_WIDTH = "[\u00ad\u180e\u200b-\u200f\u2060-\u2064\ufeff]"
BLOCK = 1_048_576  # bytes looked at in one go
SHOWN = 3

FORMS: Mapping[str, Callable[[str], str]] = {
    "case": str.lower,
    "surrounding space": str.strip,
    "zero-width characters": lambda text: re.sub(ZERO_WIDTH, "", text),
    "Unicode normal form": lambda text: unicodedata.normalize("NFC", text),
}


def shown_id(text: str) -> str:
    """Return an id as messages show it: in quotes, cut where it is long, with escapes of what a reader could not see."""
    show = repr if unicodedata.is_normalized("NFC", text) else ascii
    return show(text if len(text) <= 40 else f"{text[:37]}...")


def refuse_surrogates(column: "pd.Series[str]", name: str) -> None:
    """Refuse ids with lone surrogates, which no encoding can write; only columns of Python's own text can hold any.

    Args:
        column: ids, one per row.
        name: the column's name for messages.

    Raises:
        DataError: there are some.
    """
    distinct = column.unique()
    try:
        "".join(distinct).encode()
    except UnicodeEncodeError:
        broken = [text for text in distinct if not _has_bytes(text)]
        raise DataError(
            f"PB-D451: column {name!r} has lone surrogates, half a character each, in {_where(broken, column)}; decode the "
            "text again"
        ) from None


def _has_bytes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def refuse_unusable(distinct: "pd.Index[str]", column: "pd.Series[str]", name: str) -> None:
    """Refuse ids with control characters, and ids that are too long.

    Args:
        distinct: each id once.
        column: ids, one per row.
        name: the column's name for messages.

    Raises:
        DataError: there are some; the message has their rows.
    """
    text, used = _arrow(distinct), _bytes_used(_arrow(distinct))
    control = pc.match_substring_regex(text, CONTROL) if used[:32].any() or used[127:].any() else None
    if control is not None and pc.any(control).as_py():
        where = _where(text.filter(control).to_pylist(), column)
        raise DataError(f"PB-D452: column {name!r} has control characters in {where}; remove them")
    long = pc.greater(pc.utf8_length(text), LONGEST)
    if pc.any(long).as_py():
        raise DataError(_too_long(name, _where(text.filter(long).to_pylist(), column)))


def refuse_long_integers(column: "pd.Series[Any]", name: str) -> None:
    """Refuse integers of Python with more digits than an id may have.

    Args:
        column: integers, one per row.
        name: the column's name for messages.

    Raises:
        DataError: there are some.
    """
    broken = [value for value in column.unique() if abs(value) >= 10**LONGEST]
    if broken:  # which may be too long to be shown in decimals at all
        raise DataError(
            _too_long(
                name, f"{_number(len(broken), 'integer')} in {int(column.isin(broken).sum())} of {len(column)} rows"
            )
        )


def _too_long(name: str, where: str) -> str:
    return (
        f"PB-D453: column {name!r} has more than {LONGEST:,} characters in {where}; shorten them, for example to a hash of "
        "each"
    )


def _where(broken: list[str], column: "pd.Series[str]") -> str:
    """Return how many ids and rows are broken, and the first of them."""
    rows = column.isin(broken).to_numpy().nonzero()[0]
    position = ", ".join(map(str, rows[:SHOWN])) + (", ..." if len(rows) > SHOWN else "")
    return f"{_number(len(broken), 'id')} in {len(rows)} of {len(column)} rows ({_shown(broken)}; first at rows {position})"


def _shown(ids: list[str]) -> str:
    return ", ".join(map(shown_id, ids[:SHOWN])) + (", ..." if len(ids) > SHOWN else "")


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"


def _arrow(ids: Iterable[str]) -> pa.Array:
    found = pa.array(ids, type=pa.large_string(), from_pandas=True)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _bytes_used(text: pa.Array) -> np.ndarray:
    """Return which bytes stand in some text, `(256,)` truth values; where it is part of a larger array, or in that one."""
    used, data = np.zeros(256, dtype=bool), text.buffers()[2]
    content = np.empty(0, np.uint8) if data is None else np.frombuffer(data, dtype=np.uint8)
    for start in range(0, len(content), BLOCK):
        used |= np.bincount(content[start : start + BLOCK], minlength=256) > 0
    return used


def folded(text: pa.Array) -> pa.Array:
    """Return ids in the form that they share with those that look alike."""
    text = pc.replace_substring_regex(pc.utf8_normalize(text, form="NFC"), ZERO_WIDTH, "")
    return pc.utf8_lower(pc.utf8_trim_whitespace(text))


def look_alikes(ids: "pd.Index[str]") -> list[tuple[str, str]]:
    """Return pairs of ids that differ only in form: the first of its kind, and each of the others.

    Args:
        ids: distinct ids.
    """
    text = _arrow(ids)
    used = _bytes_used(text)
    both_cases = used[ord("A") : ord("Z") + 1].any() and used[ord("a") : ord("z") + 1].any()
    if not (both_cases or used[ord(" ")] or used[128:].any()):
        return []
    form = pd.Series(folded(text).to_pandas(), dtype=str)
    several = form.duplicated(keep=False).to_numpy()
    groups: dict[str, list[str]] = defaultdict(list)
    for key, each in zip(form[several], ids[several], strict=True):
        groups[key].append(each)
    return [(group[0], each) for group in groups.values() for each in group[1:]]


def warn_of_look_alikes(ids: "pd.Index[str]", name: str) -> None:
    """Warn where ids differ only by case, surrounding space, zero-width characters or Unicode normal form.

    Args:
        ids: distinct ids.
        name: the column's name for messages.

    Warns:
        DataWarning: some do.
    """
    pairs = look_alikes(ids)
    if not pairs:
        return
    by_form: dict[str, list[str]] = defaultdict(list)
    for one, other in pairs:
        by_form[_form_between(one, other)].append(f"{shown_id(one)} and {shown_id(other)}")
    parts = [
        f"{form} ({len(each)}: {', '.join(each[:SHOWN])}{', ...' if len(each) > SHOWN else ''})"
        for form, each in by_form.items()
    ]
    message = (
        f"PB-D454: column {name!r} holds {len(pairs)} of {len(ids)} ids that differ from another one only by "
        f"{'; '.join(parts)}, and stay different ids; where they mean the same, write it in one form, for example "
        "frame[column].str.strip().str.lower()"
    )
    warnings.warn(message, DataWarning, stacklevel=4)


def _form_between(one: str, other: str) -> str:
    """Return in which of the forms two ids differ."""
    return next((name for name, form in FORMS.items() if form(one) == form(other)), "several of these")
