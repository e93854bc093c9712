"""Interactions at a glance: how many rows, users and items, how unequal, over which time, and the first rows."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.overview import Folded, Overview, Point
from pyro_popbias.data.periods import PeriodBy
from pyro_popbias.data.time_span import FIRST, LAST

FIRST_ROWS = 5
CUTS: Mapping[PeriodBy, str] = {"time": "of equal length", "count": "of equally many rows"}


def overview_of(catalogue: Catalogue, columns: Mapping[str, Any], period_by: PeriodBy) -> Overview:
    """Return interactions at a glance.

    Args:
        catalogue: ids and counts.
        columns: user and item ids of the first rows, and label and time of all rows; None where there are none.
        period_by: how periods were cut.
    """
    rows, label, time = int(catalogue.count.sum()), columns["label"], columns["time"]
    positive = "positives only" if label is None else f"{catalogue.positives.sum() / max(rows, 1):.1%} positive"
    of_items = catalogue.count.reshape(len(catalogue.items), -1).sum(axis=1)
    shown = [
        Point(f"{rows:,}, {positive}", name="rows"),
        Point(f"{len(catalogue.users):,}{_rows_each(catalogue.user_count)}", name="users"),
        Point(f"{len(catalogue.items):,}{_rows_each(of_items)}", name="items"),
    ]
    if time is not None and len(time):
        first_and_last = _in_words(np.array([time.min(), time.max()]), are_dates=_are_dates(time))
        shown.append(Point(" to ".join(first_and_last), name="time"))
    if catalogue.periods > 1:
        shown.append(Point(f"{catalogue.periods} {CUTS[period_by]}", name="periods"))
    for side, features in (("users", catalogue.user_features), ("items", catalogue.item_features)):
        if features is not None:
            names = ", ".join(features.names[:FIRST_ROWS]) + (", ..." if len(features.names) > FIRST_ROWS else "")
            shown.append(Point(f"{len(features.names)}: {names}", name=f"features of {side}"))
    first = pd.DataFrame({name: column[:FIRST_ROWS] for name, column in columns.items() if column is not None})
    if time is not None and len(time):
        first["time"] = _in_words(time[:FIRST_ROWS], are_dates=_are_dates(time))
    return Overview(
        "Interactions",
        rows=shown,
        next_steps=("pb.fit(events)", 'events.split("random", test=0.1)'),
        folded=[Folded.of_table("The first rows", first.astype(object))],
    )


def _rows_each(count: np.ndarray | None) -> str:
    if count is None or not len(count):
        return ""
    return f", with {int(np.median(count)):,} rows in the median ({count.min():,} to {count.max():,})"


def _are_dates(time: np.ndarray) -> bool:
    """Return whether times are seconds since 1970, as far as one can tell."""
    return bool(time.min() >= FIRST and time.max() <= LAST)


def _in_words(time: np.ndarray, *, are_dates: bool) -> list[str]:
    if not are_dates:
        return [f"{each:g}" for each in time]
    return [f"{datetime.fromtimestamp(float(each), UTC):%Y-%m-%d %H:%M}" for each in time]
