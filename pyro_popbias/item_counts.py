"""Counts of items that a study gives for its prior: a table, or a log of other rows than those that are fitted.

Rows that are in the likelihood already must not be counted: a prior made of the labels' own counts uses them twice, and
95 % intervals of popularity then cover 84 % of the true values.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyro_popbias.errors import DataError
from pyro_popbias.ids import as_text, examples
from pyro_popbias.interactions import Interactions, as_frame, check_columns
from pyro_popbias.reading import read_table
from pyro_popbias.sections import Data

TWICE = (
    "counts of the labels themselves would be used twice, and 95 % intervals of popularity then cover 84 %. Give a table "
    "of another window or of exposures, or use source = 'learned' or, without labels, 'population'"
)


def read_counts(given: Any, data: Data) -> pd.DataFrame:
    """Return given counts as a table: item, as text, with `count`; or a log: item, and `user` where there are any.

    Args:
        given: a path, or a frame.
        data: names of the columns of ids; "item" and "user" are taken too.

    Raises:
        DataError: a column is missing, an item stands twice, or counts are no whole numbers from 0.
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
    return table if user is None else table.assign(user=as_text(frame[user], f"counts.{user}"))


def _whole(count: "pd.Series[Any]", item: "pd.Series[str]") -> np.ndarray:
    twice = item.duplicated()
    if twice.any():
        raise DataError(
            f"PB-D050: counts has {twice.sum()} items twice, first {', '.join(item[twice][:3])}; keep one row an item, or "
            "leave out the column 'count' so that rows are counted"
        )
    if not pd.api.types.is_numeric_dtype(count.dtype) or pd.api.types.is_bool_dtype(count.dtype):
        raise DataError(
            f"PB-D120: column 'count' of counts holds {count.dtype} values; counts are whole numbers from 0"
        )
    values = count.to_numpy(dtype="float64", na_value=np.nan)
    broken = ~(np.isfinite(values) & (values >= 0) & (values == np.floor(values)))
    if broken.any():
        raise DataError(
            f"PB-D120: column 'count' of counts has {broken.sum()} values that are no whole numbers from 0, first at "
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


def check_disjoint(given: Any, table: pd.DataFrame, counts: np.ndarray, events: Interactions, data: Data) -> None:
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
    catalogue = events.catalogue
    for what, own in (("rows", catalogue.count), ("positives", catalogue.positives)):
        if np.array_equal(counts, own.reshape(-1, events.periods).sum(axis=1)):
            raise DataError(
                f"PB-D122: counts has for all {len(counts)} items the number of their {what} in the data: {TWICE}"
            )
    if "user" in table and "count" not in table:
        _check_pairs(table, events)


def _check_pairs(log: pd.DataFrame, events: Interactions) -> None:
    user, item = events.users.get_indexer(pd.Index(log["user"])), events.items.get_indexer(pd.Index(log["item"]))
    width = np.int64(len(events.items))
    common = (user >= 0) & (item >= 0) & np.isin(user * width + item, events.user * width + events.item)
    if common.any():
        shown = [f"({pair.user}, {pair.item})" for pair in log[common][:3].itertuples()]
        raise DataError(
            f"PB-D123: {common.sum()} of the {len(log)} rows of counts are of a user and an item with a row in the data, first "
            f"{', '.join(shown)}: {TWICE}"
        )
