"""How much lists lean towards popular items.

An item's popularity here is its number of training rows.

| metric | of all lists |
| --- | --- |
| `average_popularity@k` | mean popularity of the recommended items, in rows |
| `tail_share@k` | share of recommended items that are not among the fifth of items that are most popular |
| `coverage@k` | share of the catalogue that is recommended to anyone |
| `gini@k` | Gini coefficient of how often items are recommended: 0 all alike, 1 a single item |
| `popularity_correlation@k` | Spearman correlation over items of popularity with how often they are recommended |
| `recall@k[decile d]` | recall of the relevant items of one of ten groups of items, the least popular first |
| `ndcg@k[niche users]` | of the fifth of users with the least popular histories; `blockbuster`, the most; `diverse`, the rest |
"""

import numpy as np
from scipy.stats import rankdata

HEAD = 0.2
DECILES = 10
USER_GROUPS = {"niche": (0.0, 0.2), "diverse": (0.2, 0.8), "blockbuster": (0.8, 1.0)}


def item_deciles(popularity: np.ndarray) -> np.ndarray:
    """Return the group of each item, 1 to 10, `(K,)`: equally many items each, the least popular in 1."""
    order = np.argsort(popularity, kind="stable")
    found = np.empty(len(popularity), dtype=np.int64)
    for number, part in enumerate(np.array_split(order, DECILES), start=1):
        found[part] = number
    return found


def is_tail(popularity: np.ndarray) -> np.ndarray:
    """Return which items are not among the most popular fifth, `(K,)` truth values."""
    found = np.ones(len(popularity), dtype=bool)
    found[np.argsort(-popularity, kind="stable")[: max(1, round(HEAD * len(popularity)))]] = False
    return found


def user_groups(history: np.ndarray) -> dict[str, np.ndarray]:
    """Return which users are in which group, `(U,)` truth values by name.

    Args:
        history: `(U,)` mean popularity of each user's training items.
    """
    position = (rankdata(history, method="ordinal") - 0.5) / max(len(history), 1)
    return {name: (position > low) & (position <= high) for name, (low, high) in USER_GROUPS.items()}


def gini(counts: np.ndarray) -> np.ndarray:
    """Return the Gini coefficient of each row of counts `(B, K)`, `(B,)`."""
    ordered, items = np.sort(counts, axis=1), counts.shape[1]
    place = 2 * np.arange(1, items + 1) - items - 1
    return np.asarray(ordered @ place / (items * ordered.sum(1)))


def lorenz(counts: np.ndarray) -> np.ndarray:
    """Return the share of all counts `(K,)` that the n items with least have, for n from 0 to K, `(K + 1,)`."""
    share = np.cumsum(np.sort(counts)) / counts.sum()
    return np.concatenate([[0.0], share])


def coverage(counts: np.ndarray) -> np.ndarray:
    """Return the share of items with a count above 0 of each row of counts `(B, K)`, `(B,)`."""
    return np.asarray((counts > 0).mean(1))


def rank_correlation(counts: np.ndarray, popularity: np.ndarray) -> np.ndarray:
    """Return the Spearman correlation of each row of counts `(B, K)` with the popularity of items `(K,)`, `(B,)`."""
    centred = [rank - rank.mean(-1, keepdims=True) for rank in (rankdata(counts, axis=1), rankdata(popularity)[None])]
    size = [np.sqrt((each**2).sum(-1)) for each in centred]
    with np.errstate(invalid="ignore"):
        return np.asarray((centred[0] @ centred[1][0]) / (size[0] * size[1]))
