"""Users, items and periods of interactions, their counts and side features."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from pyro_popbias.data.features import Features
from pyro_popbias.errors import ConfigError

MOST_CELLS = 2**31 - 1  # codes of cells are int32


def require_cells(items: int, periods: int) -> None:
    """Refuse more cells than their codes can tell apart: each has several numbers of a fit, so that none could hold them.

    Args:
        items: K.
        periods: T.

    Raises:
        ConfigError: there are more than 2^31 - 1.
    """
    if items * periods > MOST_CELLS:
        raise ConfigError(
            f"PB-C500: {items:,} items in {periods:,} periods are {items * periods:,} cells, each with a popularity of its own, "
            f"more than {MOST_CELLS:,}; use at most {MOST_CELLS // items:,} periods"
        )


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The users, items and periods of a log, and how often each cell was seen.

    Attributes:
        users: ids by user code.
        items: ids by item code.
        periods: T, number of periods.
        edges: `(T + 1,)` times at which periods begin and end; None without times.
        count: `(K * T,)` rows of each cell, item * T + period.
        positives: `(K * T,)` rows with label 1.
        user_features: side features by user code; None without.
        item_features: side features by item code; None without.
        user_count: `(U,)` rows of each user; None where they were not counted.
        user_positives: `(U,)` rows with label 1; None where they were not counted.
        user_items: `(U,)` distinct items with such a row; None where they were not counted.
    """

    users: "pd.Index[str]"
    items: "pd.Index[str]"
    periods: int
    edges: np.ndarray | None
    count: np.ndarray
    positives: np.ndarray
    user_features: Features | None = None
    item_features: Features | None = None
    user_count: np.ndarray | None = field(default=None, repr=False)
    user_positives: np.ndarray | None = field(default=None, repr=False)
    user_items: np.ndarray | None = field(default=None, repr=False)

    @property
    def cells(self) -> int:
        """Number of (item, period) cells."""
        return len(self.items) * self.periods

    def without_rows(self, *, by_item: bool) -> np.ndarray:
        """Return which cells have no row, `(K * T,)` truth values.

        Args:
            by_item: whether a row of the item in any period counts, as where its periods depend on each other.
        """
        if not by_item:
            return np.asarray(self.count == 0)
        return np.repeat(self.count.reshape(-1, self.periods).sum(1) == 0, self.periods)

    def cell_frame(self) -> pd.DataFrame:
        """Return one row per cell: item, period, count, positives."""
        return pd.DataFrame(
            {
                "item": self.items.repeat(self.periods),
                "period": np.tile(np.arange(self.periods), len(self.items)),
                "count": self.count,
                "positives": self.positives,
            }
        )
