"""Checks of the tables that users pass: their type, their columns, and their times."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from pyro_popbias.data.ids import examples
from pyro_popbias.data.time_span import check_span
from pyro_popbias.errors import DataError
from pyro_popbias.registry import nearest


class ArrowTable(Protocol):
    """A table of any library with the Arrow interface: polars, pyarrow, DuckDB and others."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


Table = pd.DataFrame | ArrowTable


def as_frame(frame: Any) -> pd.DataFrame:
    """Return a table as a pandas DataFrame whose columns have text as names: 0, as of a file without a header, becomes "0".

    Raises:
        DataError: it is neither a pandas DataFrame nor anything with `__arrow_c_stream__`, or its text is not UTF-8.
    """
    if isinstance(frame, pd.DataFrame):
        plain = all(isinstance(name, str) for name in frame.columns)
        return frame if plain else frame.set_axis([str(name) for name in frame.columns], axis=1)
    if hasattr(frame, "__arrow_c_stream__") and not isinstance(frame, pd.Series):
        return _from_arrow(pa.table(frame))
    raise DataError(
        f"PB-D001: expected a DataFrame, got {type(frame).__name__}; pass a pandas DataFrame or a table with "
        "__arrow_c_stream__ (polars, pyarrow)"
    )


def _from_arrow(table: pa.Table) -> pd.DataFrame:
    try:
        table.validate(full=True)  # text that is not UTF-8 would fail later, where it is used
        frame: pd.DataFrame = table.to_pandas(date_as_object=False)
    except (pa.ArrowException, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"PB-D468: the table cannot be used: {reason}; make it again") from error
    return frame


def of_other_separators(columns: Sequence[str]) -> str:
    """Return what to do where the only column is a header with another separator than commas; empty elsewhere.

    Args:
        columns: names.
    """
    found = next((sign for sign in (";", "\t", "|") if len(columns) == 1 and sign in columns[0]), None)
    if found is None:
        return ""
    return (
        f"; fields are separated by {found!r}: write the file with commas, or read it with pandas.read_csv(path, sep={found!r}) "
        "and use the table"
    )


def check_columns(frame: pd.DataFrame, names: Any) -> None:
    """Refuse a frame with missing or duplicate columns.

    Raises:
        DataError: a column is missing or a name is duplicate; the message suggests the nearest column.
    """
    present = [str(column) for column in frame.columns]
    twice = sorted({column for column in present if present.count(column) > 1})
    if twice:
        raise DataError(f"PB-D007: duplicate column names: {', '.join(twice)}; rename them")
    for name in names:
        if name not in present:
            raise DataError(
                f"PB-D005: no column {name!r}{nearest(str(name).strip(), present)} Columns: {', '.join(present)}"
                f"{of_other_separators(present)}"
            )


def check_roles(user: str, item: str) -> None:
    """Refuse one column as both users and items.

    Raises:
        DataError: the names are the same.
    """
    if user == item:
        raise DataError(f"PB-D043: user and item are the same column, {user!r}; name two columns")


def checked_times(column: pd.Series, name: str) -> np.ndarray:
    """Return what `as_times` does, of times that may be meant.

    Raises:
        DataError: as in `as_times`; or times are in two units, or more than 50 years apart.

    Warns:
        DataWarning: times are in the future, or at the epoch.
    """
    times = as_times(column, name)
    check_span(times, name)
    return times


def as_times(column: pd.Series, name: str) -> np.ndarray:
    """Return a column of times as numbers `(N,)`: seconds of dates, numbers as they are.

    Raises:
        DataError: times are missing or infinite, or the column does not hold times.
    """
    missing = column.isna()
    if missing.any():
        raise DataError(
            f"PB-D073: column {name!r} has {missing.sum()} missing times in {len(column)} rows, first at "
            f"{examples(missing)}; fill or drop these rows"
        )
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return _seconds(column, name)
    is_real = pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_complex_dtype(column.dtype)
    if not is_real or pd.api.types.is_bool_dtype(column.dtype):
        raise DataError(
            f"PB-D071: column {name!r} holds {column.dtype} values, not times; give numbers, or convert with "
            "pandas.to_datetime"
        )
    times = column.to_numpy(dtype="float64")
    infinite = ~np.isfinite(times)
    if infinite.any():
        raise DataError(
            f"PB-D073: column {name!r} has {infinite.sum()} infinite times in {len(times)} rows, first at "
            f"{examples(pd.Series(infinite))}; fix or drop these rows"
        )
    return times


def _seconds(column: pd.Series, name: str) -> np.ndarray:
    """Return dates as seconds since 1970, `(N,)`."""
    epoch = pd.Timestamp(0, tz=getattr(column.dtype, "tz", None))
    try:
        return ((column - epoch) / pd.Timedelta(seconds=1)).to_numpy(dtype="float64")
    except (pd.errors.OutOfBoundsDatetime, pd.errors.OutOfBoundsTimedelta, OverflowError) as error:
        raise DataError(
            f"PB-D469: column {name!r} has dates from {column.min()} to {column.max()}, which nanoseconds since 1970 do not "
            "reach; fix or drop those before 1678 or after 2261"
        ) from error
