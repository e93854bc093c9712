"""Counts of items that a study gives for its prior: a table, or a log whose rows are not those that are fitted.

Rows that are in the likelihood already must not be counted: a prior made of the labels' own counts uses them twice, and
95 % intervals of popularity then cover 84 % of the true values.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyro_popbias.data.frames import as_frame, as_times, check_columns
from pyro_popbias.data.ids import as_text, examples
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.table_files import read_table
from pyro_popbias.errors import DataError, DataWarning
from pyro_popbias.study.sections import DataConfig

LARGEST = 2.0**53  # every integer up to it is a float
FEWEST = 5  # items: so many whose counts equal the data's own are not a coincidence
TWICE = (
    "counts of the labels themselves would be used twice, and 95 % intervals of popularity then cover 84 %. Give a table "
    "of another window or of exposures (where users come back to items, as item and count), or use source = 'learned' or, "
    "without labels, 'population'"
)


def read_counts(given: Any, data: DataConfig) -> pd.DataFrame:
    """Return given counts as a table: item, as text, with `count`; or a log: item, with `user` and `time` where it has them.

    Args:
        given: a path, or a frame.
        data: names of the columns of ids and times; "item", "user" and "time" are taken too.

    Raises:
        DataError: a column is missing, an item appears twice, or counts are not integers >= 0.
        RunFolderError: the file cannot be read.
    """
    users, items = ([name for name in (own, kind) if name] for own, kind in ((data.user, "user"), (data.item, "item")))
    frame = read_table(given, text_if_there=(*users, *items)) if isinstance(given, str) else as_frame(given)
    item = next((name for name in items if name in frame), "item")
    check_columns(frame, [item])
    table = pd.DataFrame({"item": as_text(frame[item], f"counts.{item}")})
    if "count" in frame:
        return table.assign(count=_whole(frame["count"].reset_index(drop=True), table["item"]))
    user = next((name for name in users if name in frame), None)
    if user is None:
        if frame.shape[1] > 1:
            message = (
                f"PB-D125: the log of counts has no column of users ({' or '.join(users)}) among {', '.join(map(str, frame))}, "
                "so that rows shared with the data cannot be found"
            )
            warnings.warn(message, DataWarning, stacklevel=2)
    else:
        table = table.assign(user=as_text(frame[user], f"counts.{user}"))
    time = _time_of(frame, data)
    return table if time is None else table.assign(time=frame[time].to_numpy())


def _time_of(frame: pd.DataFrame, data: DataConfig) -> str | None:
    """Return the name of a log's column of times: the study's, or "time" where that can be used; None without one."""
    if data.time is not None and data.time in frame:
        return data.time
    if "time" not in frame or frame["time"].isna().any():
        return None
    kind = frame["time"].dtype
    return "time" if pd.api.types.is_datetime64_any_dtype(kind) or pd.api.types.is_numeric_dtype(kind) else None


def _whole(count: "pd.Series[Any]", item: "pd.Series[str]") -> np.ndarray:
    twice = item.duplicated()
    if twice.any():
        raise DataError(
            f"PB-D050: counts has {twice.sum()} items twice, first {', '.join(item[twice][:3])}; keep one row per item, or "
            "leave out the column 'count' so that rows are counted"
        )
    if not pd.api.types.is_numeric_dtype(count.dtype) or pd.api.types.is_bool_dtype(count.dtype):
        raise DataError(f"PB-D120: column 'count' of counts holds {count.dtype} values; counts are integers >= 0")
    values = count.to_numpy(dtype="float64", na_value=np.nan)
    broken = ~((values >= 0) & (values <= LARGEST) & (values == np.floor(values)))
    if broken.any():
        raise DataError(
            f"PB-D120: column 'count' of counts has {broken.sum()} values that are not integers from 0 to 2^53, first at "
            f"{examples(pd.Series(broken))}"
        )
    return values.astype(np.int64)


def count_items(table: pd.DataFrame, items: "pd.Index[str]") -> np.ndarray:
    """Return the count of each item of a catalogue, `(K,)`; 0 where the table has none. Other items are ignored.

    Raises:
        DataError: the table has none of the items, or counts 0 of all.
    """
    code = items.get_indexer(pd.Index(table["item"]))
    known = code >= 0
    if not known.any():
        raise DataError(
            f"PB-D121: counts has none of the {len(items)} items of the data; its ids are {_some(table['item'])}, the data's "
            f"{_some(items)}; ids are compared as text"
        )
    weights = table["count"][known] if "count" in table else None
    counts = np.bincount(code[known], weights=weights, minlength=len(items))
    if not counts.any():
        raise DataError(f"PB-D121: counts has 0 for all {known.sum()} items of the data that it holds; leave it out")
    return counts.astype(np.int64)


def _some(ids: Any) -> str:
    return f"{', '.join(ids[:3])}{', ...' if len(ids) > 3 else ''}"


def check_disjoint(given: Any, table: pd.DataFrame, counts: np.ndarray, events: Interactions, data: DataConfig) -> None:
    """Refuse counts of the rows that are fitted.

    Args:
        given: a path, or a frame.
        table: what was read of it.
        counts: `(K,)` of each item.
        events: all rows of the fit.
        data: the path of the data, where it is known.

    Raises:
        DataError: counts are the data's own, or share rows with them.
    """
    if isinstance(given, str) and data.path is not None and Path(given).resolve() == Path(data.path).resolve():
        raise DataError(f"PB-D122: counts is the file of the data itself, {given}: {TWICE}")
    own = {"rows": events.catalogue.count, "positives": events.catalogue.positives}
    own["negatives"] = own["rows"] - own["positives"]
    there = events.items.isin(table["item"])
    for what, each in own.items():
        number = each.reshape(-1, events.periods).sum(axis=1)
        if number.any() and np.array_equal(counts[there], number[there]) and there.sum() >= min(FEWEST, len(counts)):
            raise DataError(
                f"PB-D122: counts has for all of its {there.sum()} items the number of their {what} in the data: {TWICE}"
            )
    if "user" in table and "count" not in table:
        _check_pairs(table, events)


def _check_pairs(log: pd.DataFrame, events: Interactions) -> None:
    """Refuse a log with rows of the data: the same user and item, and time where both have one."""
    width = np.int64(len(events.items))
    user, item = events.users.get_indexer(pd.Index(log["user"])), events.items.get_indexer(pd.Index(log["item"]))
    given, own = pd.DataFrame({"pair": user * width + item}), pd.DataFrame({"pair": events.user * width + events.item})
    timed = "time" in log and events.time is not None
    if timed:
        given, own = given.assign(time=as_times(log["time"], "counts.time")), own.assign(time=events.time)
    known = pd.MultiIndex.from_frame(own)
    common = (user >= 0) & (item >= 0) & pd.MultiIndex.from_frame(given).isin(known)
    if common.any():
        shown = [f"({pair.user}, {pair.item})" for pair in log[common][:3].itertuples()]
        same = "a user, an item and a time" if timed else "a user and an item"
        raise DataError(
            f"PB-D123: {common.sum()} of the {len(log)} rows of counts are of {same} with a row in the data, first "
            f"{', '.join(shown)}: {TWICE}"
        )
