"""Interactions from a file, any table."""

from pathlib import Path

import pandas as pd

from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.periods import PeriodBy
from pyro_popbias.data.table_files import read_table
from pyro_popbias.errors import DataError


def read_interactions(
    path: str | Path,
    *,
    user: str = "user",
    item: str = "item",
    label: str | None = None,
    positive_if: str | None = None,
    time: str | None = None,
    periods: int = 1,
    period_by: PeriodBy = "time",
    user_features: str | Path | pd.DataFrame | None = None,
    item_features: str | Path | pd.DataFrame | None = None,
    new_items: bool = False,
) -> Interactions:
    """Return the interactions of a file; ids are read as text.

    Args:
        path: a .csv, .csv.gz or .parquet file.
        user: column of user ids.
        item: column of item ids.
        label: column of labels; None for a log that holds positives only.
        positive_if: a comparison with a number, such as ">=4", that makes labels of ratings.
        time: column of times.
        periods: number of slices of time; more than 1 needs `time`.
        period_by: "time" cuts slices of equal length, "count" slices of equally many rows.
        user_features: side features: a file whose first column is the user id, the rest numbers or text by level; or a
            frame indexed by id.
        item_features: side features of items, in the same form.
        new_items: whether items without rows that have features join the others.

    Raises:
        DataError: a file or its content cannot be used as it is; the message names the file.
        RunFolderError: there is no such file.
        ConfigError: an argument is wrong.
    """
    frame = read_table(path, text=(user, item))
    try:
        events = Interactions.from_frame(
            frame,
            user=user,
            item=item,
            label=label,
            positive_if=positive_if,
            time=time,
            periods=periods,
            period_by=period_by,
        )
    except DataError as error:
        raise DataError(f"{error} (in {path})") from error
    events = with_features_of(events, "user_features", user_features)
    return with_features_of(events, "item_features", item_features, new_items=new_items)


def with_features_of(
    events: Interactions, role: str, given: str | Path | pd.DataFrame | None, *, new_items: bool = False
) -> Interactions:
    """Return the same rows with side features.

    Args:
        events: the interactions.
        role: "user_features" or "item_features".
        given: a file whose first column is the id, or a frame indexed by id; None leaves what there is.
        new_items: whether items without rows that have features join the others.

    Raises:
        DataError: a file or its content cannot be used as it is; the message names the file.
        RunFolderError: there is no such file.
    """
    if given is None or isinstance(given, pd.DataFrame):
        return events.with_features(**{role: given}, new_items=new_items)
    frame = read_table(given, first_text=True)
    try:
        return events.with_features(**{role: frame.set_index(frame.columns[0])}, new_items=new_items)
    except DataError as error:
        raise DataError(f"{error} (in {given})") from error
