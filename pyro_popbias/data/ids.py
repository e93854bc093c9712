"""External ids as text: read without loss, or refused.

Two different ids must never become one (2^53 and 2^53 + 1 as floats), and a missing value must never become an id.
"""

import warnings
from numbers import Integral

import numpy as np
import pandas as pd

from pyro_popbias.errors import DataError, DataWarning

EXACT_FLOAT = 2**53  # from here on, different integers share one float


def examples(rows: pd.Series, limit: int = 3) -> str:
    """Return the positions of the first true rows, as messages show them: "rows 3, 17, 20"."""
    positions = rows.to_numpy().nonzero()[0]
    shown = ", ".join(str(position) for position in positions[:limit])
    return f"row{'s' if len(positions) > 1 else ''} {shown}{', ...' if len(positions) > limit else ''}"


def as_text(column: pd.Series, name: str) -> pd.Series:
    """Return ids as text, in a new series numbered from 0.

    Args:
        column: ids: text, integers, integral floats below 2^53, or a categorical of these.
        name: the column's name for messages.

    Raises:
        DataError: ids are missing, empty, of mixed types, not integral, or too large to be exact.
    """
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
    return column.astype(str)


def as_codes(column: pd.Series, name: str) -> tuple[np.ndarray, "pd.Index[str]"]:
    """Return the code of each row, `(N,)`, and ids by code.

    Args:
        column: ids, as in `as_text`.
        name: the column's name for messages.

    Raises:
        DataError: ids cannot be used.
    """
    codes, found = pd.factorize(as_text(column, name))
    ids = pd.Index(found, dtype=str)
    warn_of_two_forms(ids, name)
    return codes.astype(np.int32), ids


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
