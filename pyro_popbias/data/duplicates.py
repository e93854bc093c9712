"""Rows that a log holds twice: warnings of repeated rows, and of rows that contradict each other.

Both are about rows of one user, item and time, so that a log without times is not examined: there, as in logs whose
times are days, the same pair may come back as often as it was shown, with either label.
"""

import warnings

import pandas as pd

from pyro_popbias.errors import DataWarning

COARSE = 100  # rows per distinct time, on average, from which on times are days rather than moments
EXAMPLES = 3


def warn_of_duplicates(keys: pd.DataFrame, users: "pd.Index[str]", items: "pd.Index[str]") -> None:
    """Warn of rows with the same user, item and time: exact repeats, and combinations that have both labels.

    Args:
        keys: columns user and item (codes), time and, where known, label; one row per interaction.
        users: ids by user code.
        items: ids by item code.
    """

    def shown(rows: pd.DataFrame) -> str:
        first = rows.head(EXAMPLES)
        codes = zip(first.index, first["user"], first["item"], strict=True)
        parts = [f"row {row}: user {users[user]!r}, item {items[item]!r}" for row, user, item in codes]
        return "; ".join(parts) + ("; ..." if len(rows) > EXAMPLES else "")

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
