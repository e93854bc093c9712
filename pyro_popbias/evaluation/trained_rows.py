"""Rows of a test that were trained on: a fit knows them by heart, and says nothing by ranking them well."""

import numpy as np
import pandas as pd

from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import DataError

MOST_TRAINED = 0.9  # share of a test's rows that may have been trained on


def trained_rows(test: Interactions, train: Interactions) -> np.ndarray:
    """Return which rows of a test are of a user and an item that have a training row with each other, `(N,)` truth values.

    Args:
        test: N rows.
        train: the rows trained on.
    """
    user, item = (
        pd.Index(getattr(train, f"{side}s")).get_indexer(pd.Index(getattr(test, f"{side}s")))[getattr(test, side)]
        for side in ("user", "item")
    )
    known, items = (user >= 0) & (item >= 0), np.int64(len(train.items))  # codes are int32, whose products overflow
    return known & np.isin(user * items + item, train.user * items + train.item)


def refuse_trained(trained: np.ndarray, *, whose: str = "") -> None:
    """Refuse a test that was trained on for the most part.

    Args:
        trained: `(N,)` as of `trained_rows`.
        whose: training it was, where there are several fits.

    Raises:
        DataError: more than nine tenths of the rows were trained on.
    """
    if len(trained) and trained.mean() > MOST_TRAINED:
        raise DataError(
            f"PB-D370: {int(trained.sum())} of the {len(trained)} rows of the test were trained on{whose and f' by {whose}'}; "
            "evaluate on rows that were held out, such as of Interactions.split"
        )
