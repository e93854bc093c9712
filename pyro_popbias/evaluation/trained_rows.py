"""Tests that say too much: rows that were trained on, which a fit knows by heart, and rows from before the training."""

import warnings

import numpy as np
import pandas as pd

from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import DataError, DataWarning

MOST_TRAINED = 0.9  # share of a test's rows that may have been trained on
MOST_EARLIER = 0.9  # share of a test's rows that may be earlier than this share of the training rows


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


def warn_of_earlier(test: Interactions, train: Interactions, *, whose: str = "") -> None:
    """Warn of a test that is from before the training, as where the two were swapped.

    A test drawn at random is from the same time, and is not meant.

    Args:
        test: the rows of the test.
        train: the rows trained on.
        whose: training it was, where there are several fits.

    Warns:
        DataWarning: nine tenths of the test's rows are earlier than nine tenths of the training rows.
    """
    if test.time is None or train.time is None:
        return
    last, first = np.quantile(test.time, MOST_EARLIER), np.quantile(train.time, 1 - MOST_EARLIER)
    if last < first:
        message = (
            f"PB-D467: {int((test.time < first).sum())} of the {len(test)} rows of the test are earlier than nine tenths of the "
            f"rows trained on{whose and f' by {whose}'}: the fit knows what came after them; train on the earlier rows, as "
            "Interactions.split('temporal') does"
        )
        warnings.warn(message, DataWarning, stacklevel=6)
