"""Rows that a log holds twice: warnings of repeated rows, and of rows that contradict each other.

Both are about rows of one user, item and time. In a log without times, as in logs whose times are days, the same pair may
come back as often as it was shown, with either label: there repeated rows are those that were copied only where pairs
come back and none of them has both labels. Without labels, too, every repeat may be a play.
"""

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from pyro_popbias.errors import DataWarning

COARSE = 100  # rows per distinct time, on average, from which on times are days rather than moments
EXAMPLES = 3
CHANCE = 1e-3  # probability of rows that look like copies and are not, below which they are warned of


def warn_of_duplicates(columns: Mapping[str, np.ndarray], users: "pd.Index[str]", items: "pd.Index[str]") -> None:
    """Warn of rows with the same user, item and time: exact repeats, and combinations that have both labels.

    Without times, warn of exact repeats where no pair has both labels.

    Args:
        columns: user and item (codes) and, where known, time and label, `(N,)` each.
        users: ids by user code.
        items: ids by item code.
    """

    def shown(rows: pd.DataFrame) -> str:
        first = rows.head(EXAMPLES)
        codes = zip(first.index, first["user"], first["item"], strict=True)
        parts = [f"row {row}: user {users[user]!r}, item {items[item]!r}" for row, user, item in codes]
        return "; ".join(parts) + ("; ..." if len(rows) > EXAMPLES else "")

    keys = pd.DataFrame(columns)
    if "time" not in keys:
        _warn_of_copies(keys, shown)
        return
    if len(keys) >= COARSE * keys["time"].nunique():
        return
    moment = ["user", "item", "time"]
    repeated = keys.duplicated()
    if repeated.any():
        message = (
            f"PB-D311: {repeated.sum()} of {len(keys)} rows repeat an earlier row with the same {', '.join(keys.columns)} "
            f"({shown(keys[repeated])}), and each counts; drop them, for example with frame.drop_duplicates(), "
            "unless they are separate events"
        )
        warnings.warn(message, DataWarning, stacklevel=4)
    if "label" not in keys:
        return
    contradicted = keys[~repeated].duplicated(moment)
    if contradicted.any():
        message = (
            f"PB-D312: {contradicted.sum()} combinations of user, item and time have both label 0 and label 1 "
            f"({shown(keys[~repeated][contradicted])}); keep one row of each, or check how labels were joined"
        )
        warnings.warn(message, DataWarning, stacklevel=4)


def _warn_of_copies(keys: pd.DataFrame, shown: Callable[[pd.DataFrame], str]) -> None:
    """Warn of repeated rows without times, unless pairs come back with either label, as exposures do, or might have."""
    if "label" not in keys or keys["label"].nunique() < 2:  # every repeat may be a play
        return
    pair = keys["user"].astype(np.int64) * (int(keys["item"].max()) + 1) + keys["item"]
    comes_back = pair.duplicated().to_numpy()
    if not comes_back.any():
        return
    repeated = (pair * 2 + keys["label"]).duplicated().to_numpy()
    share = float(keys["label"].mean())
    by_chance = (share**2 + (1 - share) ** 2) ** int(comes_back.sum())  # of separate events with independent labels
    if repeated.sum() == comes_back.sum() and by_chance < CHANCE:
        message = (
            f"PB-D311: {repeated.sum()} of {len(keys)} rows repeat an earlier row with the same user, item, label "
            f"({shown(keys[repeated])}), and each counts; no pair has both labels, so that they may be copies: drop them, for "
            "example with frame.drop_duplicates(), unless they are separate events"
        )
        warnings.warn(message, DataWarning, stacklevel=5)
