"""What the lists of some users show: how far they lean to popular items."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.evaluation.popularity_bias import gini, is_tail

LENGTH = 10  # of lists
MOST_USERS, LEAST_USERS, MOST_SCORES = 200, 20, 2_000_000  # scores of one popularity: users times items


@final
@dataclass(frozen=True, eq=False)
class Shown:
    """What lists under one popularity show.

    Attributes:
        users: how many lists there are.
        counts: `(K,)` lists that hold each item.
        mean_rows: rows of the fit that a listed item has, on average.
        tail_share: share of places that items have which are not among the fifth with most rows.
        gini: of `counts`; 0 is all items alike.
        items: how many items are in some list.
    """

    users: int
    counts: np.ndarray
    mean_rows: float
    tail_share: float
    gini: float
    items: int


def sample_of_users(catalogue: Catalogue) -> list[str]:
    """Return the ids of some users, drawn at random, fewer where there are many items."""
    known = len(catalogue.users)
    number = min(known, max(LEAST_USERS, min(MOST_USERS, MOST_SCORES // len(catalogue.items))))
    return list(catalogue.users[np.sort(np.random.default_rng(0).choice(known, number, replace=False))])


def shown_under(
    recommend: Callable[[Sequence[str], str | float, int], pd.DataFrame],
    users: Sequence[str],
    popularity: str | float,
    catalogue: Catalogue,
) -> Shown:
    """Return what the lists of some users show under a popularity.

    Args:
        recommend: from users, a popularity and a length to lists.
        users: ids.
        popularity: a mode, or a share of the knob.
        catalogue: of the fit.
    """
    item = catalogue.items.get_indexer(pd.Index(recommend(users, popularity, LENGTH)["item"]))
    counts = np.bincount(item, minlength=len(catalogue.items))
    rows = catalogue.count.reshape(-1, catalogue.periods).sum(1)
    return Shown(
        len(users),
        counts,
        float(rows[item].mean()) if len(item) else np.nan,
        float(is_tail(rows)[item].mean()) if len(item) else np.nan,
        float(gini(counts[None])[0]) if len(item) else np.nan,
        int(np.count_nonzero(counts)),
    )
