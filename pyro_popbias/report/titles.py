"""Titles of items for plots and reports: from a mapping, a table or a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pyro_popbias.data.frames import as_frame, check_columns
from pyro_popbias.data.ids import as_text
from pyro_popbias.data.table_files import read_table
from pyro_popbias.errors import DataError


def read_titles(given: Any) -> dict[str, str]:
    """Return titles by item id, both as text; empty if nothing is given.

    Args:
        given: a mapping, a table with columns item and title, or the path of such a table.

    Raises:
        DataError: a column is missing, or an item has two titles.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return {str(item): str(title) for item, title in given.items() if not pd.isna(title)}
    table = read_table(given, text=("item",)) if isinstance(given, str | Path) else as_frame(given)
    check_columns(table, ["item", "title"])
    items = as_text(table["item"], "titles.item")
    twice = items[items.duplicated()]
    if len(twice):
        raise DataError(
            f"PB-D160: titles has {len(twice)} duplicate items, first {', '.join(twice.unique()[:5])}; keep one row per item"
        )
    titles = table["title"].astype(object).where(table["title"].notna(), "").astype(str)
    return {item: title for item, title in zip(items, titles, strict=True) if title}
