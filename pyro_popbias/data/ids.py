"""External ids as text: read without loss, or refused.

Two different ids must never become one (2^53 and 2^53 + 1 as floats), and a missing value must never become an id.
"""

import warnings
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from pyro_popbias.data.id_forms import refuse_long_integers, refuse_surrogates, refuse_unusable, warn_of_look_alikes
from pyro_popbias.errors import DataError, DataWarning

EXACT_FLOAT = 2**53  # from here on, different integers share one float


def examples(rows: "pd.Series[bool] | np.ndarray", limit: int = 3) -> str:
    """Return the positions of the first true rows, as messages show them: "rows 3, 17, 20"."""
    positions = np.asarray(rows).nonzero()[0]
    shown = ", ".join(str(position) for position in positions[:limit])
    return f"row{'s' if len(positions) > 1 else ''} {shown}{', ...' if len(positions) > limit else ''}"


def as_text(column: pd.Series, name: str) -> pd.Series:
    """Return ids as text, in a new series numbered from 0.

    Args:
        column: ids: text, integers, integral floats below 2^53, or a categorical of these.
        name: the column's name for messages.

    Raises:
        DataError: ids are missing, empty, of mixed types, not integral, too large to be exact or too long, or have control
            characters or lone surrogates.
    """
    text = _as_text(column, name)
    if pd.api.types.is_string_dtype(column.dtype) or column.dtype == object:
        refuse_unusable(pd.Index(text.unique(), dtype=str), text, name)
    return text


def column_of(ids: Iterable[Any]) -> "pd.Series[Any]":
    """Return a list of ids as a column, for `as_text`."""
    listed = list(ids)
    try:
        return pd.Series(listed, dtype=None if listed else str)
    except UnicodeEncodeError:  # lone surrogates, which `as_text` refuses
        return pd.Series(listed, dtype=object)


def _as_text(column: pd.Series, name: str) -> pd.Series:
    """Return what `as_text` does, without a look at the characters of ids."""
    column = column.reset_index(drop=True)
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    missing = column.isna()
    if missing.any():
        raise DataError(
            f"PB-D029: column {name!r} has {missing.sum()} missing ids in {len(column)} rows, first at "
            f"{examples(missing)}; drop or fill these rows"
        )
    if pd.api.types.is_bool_dtype(column.dtype):
        raise DataError(f"PB-D036: column {name!r} holds booleans, which are not ids; give ids as text or integers")
    if pd.api.types.is_integer_dtype(column.dtype):
        return column.astype("int64" if column.dtype.kind == "i" else "uint64").astype(str)
    if pd.api.types.is_float_dtype(column.dtype):
        return _integral(column, name)
    return _text(column, name)


def _integral(column: pd.Series, name: str) -> pd.Series:
    column = column.astype("float64")
    broken = (column % 1 != 0) | (column.abs() == float("inf"))
    if broken.any():
        raise DataError(
            f"PB-D037: column {name!r} has {broken.sum()} ids that are not integers, first at {examples(broken)}; "
            "give ids as text or integers"
        )
    inexact = column.abs() >= EXACT_FLOAT
    if inexact.any():
        raise DataError(
            f"PB-D035: column {name!r} holds floats, and {inexact.sum()} ids are too large (2^53 or more) to tell apart, "
            f"first at {examples(inexact)}; read the column as text (dtype=str) or nullable integers (dtype='Int64')"
        )
    return column.astype("int64").astype(str)


def _text(column: pd.Series, name: str) -> pd.Series:
    if column.dtype == object:
        kinds = sorted({type(value).__name__ for value in column})
        if all(isinstance(value, Integral) and not isinstance(value, bool) for value in column):
            refuse_long_integers(column, name)
            return column.map(str).astype(str)
        if kinds != ["str"]:
            raise DataError(
                f"PB-D036: column {name!r} has mixed id types: {', '.join(kinds)}; convert it to text with astype(str)"
            )
    elif not pd.api.types.is_string_dtype(column.dtype):
        raise DataError(f"PB-D036: column {name!r} has type {column.dtype}; ids are text or integers")
    empty = column == ""
    if empty.any():
        raise DataError(f"PB-D039: column {name!r} has {empty.sum()} empty ids, first at {examples(empty)}")
    if column.dtype == object or getattr(column.dtype, "storage", "") == "python":
        refuse_surrogates(column, name)
    return column.astype(str)


def as_codes(column: pd.Series, name: str) -> tuple[np.ndarray, "pd.Index[str]"]:
    """Return the code of each row, `(N,)`, and ids by code.

    Args:
        column: ids, as in `as_text`.
        name: the column's name for messages.

    Raises:
        DataError: ids cannot be used.

    Warns:
        DataWarning: ids look alike, or a categorical has categories without rows.
    """
    text = _as_text(column, name)
    codes, found = pd.factorize(text)
    ids = pd.Index(found, dtype=str)
    refuse_unusable(ids, text, name)
    _warn_of_unused(column, ids, name)
    warn_of_forms(ids, name)
    return codes.astype(np.int32), ids


def _warn_of_unused(column: pd.Series, ids: "pd.Index[str]", name: str) -> None:
    """Warn of categories without rows, which are left out and do not become ids."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return
    categories = column.cat.categories
    unused = categories[~categories.isin(column.unique())]
    if len(unused):
        message = (
            f"PB-D455: column {name!r} has {len(unused)} of {len(categories)} categories without rows, such as "
            f"{str(unused[0])!r}; they are left out. For items without rows give item_features and new_items=True; else drop "
            "them with frame[column].cat.remove_unused_categories()"
        )
        warnings.warn(message, DataWarning, stacklevel=4)


def warn_of_forms(ids: "pd.Index[str]", name: str) -> None:
    """Warn where ids that a reader takes for one are different.

    Args:
        ids: distinct ids.
        name: the column's name for messages.

    Warns:
        DataWarning: two hold one number as an integer and as a float, or differ by case, space, characters without width or
            normal form.
    """
    warn_of_two_forms(ids, name)
    warn_of_look_alikes(ids, name)


def warn_of_two_forms(ids: "pd.Index[str]", name: str) -> None:
    """Warn where a column of ids holds the same number as an integer and as a float, "1" and "1.0".

    Args:
        ids: distinct ids.
        name: the column's name for messages.
    """
    floats = ids[ids.str.fullmatch(r"[+-]?\d+\.0*")]
    if floats.empty:
        return
    integers = floats.str.replace(r"\.0*$", "", regex=True)
    both = integers.isin(ids)
    if both.any():
        pairs = [f"{one!r} and {other!r}" for one, other in zip(integers[both], floats[both], strict=True)]
        shown = ", ".join(pairs[:3]) + (", ..." if len(pairs) > 3 else "")
        message = (
            f"PB-D313: column {name!r} holds {len(pairs)} of {len(ids)} ids in two forms, {shown}, which stay different "
            "ids; write each in one form, for example frame[column].str.replace(r'\\.0*$', '', regex=True)"
        )
        warnings.warn(message, DataWarning, stacklevel=4)
