"""Which items lists may hold: those of a given selection, without those that are excluded."""

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.ids import as_text, column_of
from pyro_popbias.errors import ConfigError, DataError, DataWarning

SHOWN = 5


def left_out(catalogue: Catalogue, items: Iterable[Any] | None, exclude: Iterable[Any] | None) -> np.ndarray | None:
    """Return the codes of items that no list holds; None where lists may hold all.

    Args:
        catalogue: the ids that are known.
        items: ids of the items that lists may hold; None is all of them.
        exclude: ids of items that no list holds, whether they are known or not; None excludes none.

    Raises:
        ConfigError: one of the two is a single string or a table.
        DataError: ids cannot be used, or no item is left.

    Warns:
        DataWarning: some of the items are unseen, or all that are excluded.
    """
    allowed = np.ones(len(catalogue.items), dtype=bool)
    if items is not None:
        allowed[:] = False
        allowed[_known(catalogue, items, "items")] = True
    if exclude is not None:
        allowed[_known(catalogue, exclude, "exclude")] = False
    if not allowed.any():
        raise DataError(
            f"PB-D506: none of the {len(allowed)} items of the fit is left to recommend; name other items, or exclude fewer"
        )
    return None if allowed.all() else np.flatnonzero(~allowed)


def _known(catalogue: Catalogue, given: Iterable[Any], name: str) -> np.ndarray:
    """Return the codes of given ids that are known, and warn of others where they matter."""
    if isinstance(given, str):
        raise ConfigError(f"PB-C530: {name}={given!r} is a single string; pass a list of ids")
    if isinstance(given, pd.DataFrame):
        raise ConfigError(f"PB-C530: {name} is a table; pass its column of ids, such as table['item']")
    listed = list(given)
    if not listed:
        return np.arange(0)
    ids = pd.Index(as_text(column_of(listed), name)).unique()
    codes = catalogue.items.get_indexer(ids)
    unknown = ids[codes < 0]
    if name == "items" and len(unknown):
        warnings.warn(
            f"PB-D505: {len(unknown)} of {len(ids)} items to choose from are unseen, first {', '.join(unknown[:SHOWN])}; nothing "
            "is known of them, and they are left out",
            DataWarning,
            stacklevel=4,
        )
    elif len(unknown) == len(ids):
        warnings.warn(
            f"PB-D507: none of the {len(ids)} items to exclude is an item of the fit, first {', '.join(unknown[:SHOWN])}; check "
            "that they are written as in the fit's data",
            DataWarning,
            stacklevel=4,
        )
    return np.asarray(codes[codes >= 0])
