"""A system's lists and probabilities on a test, as metrics of users that a bootstrap can weight."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from pyro_popbias.evaluation import popularity_bias, probabilities
from pyro_popbias.evaluation.bootstrap import Metric, ratio
from pyro_popbias.evaluation.lists import NOTHING, hits_of
from pyro_popbias.evaluation.ranking import ranking_metrics


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Rows of a test with both classes.

    Attributes:
        user: `(N,)` positions among the users that are judged.
        label: `(N,)` 0 or 1.
        score: `(N,)` what ranks the rows.
        is_probability: whether scores are P(c=1).
    """

    user: np.ndarray
    label: np.ndarray
    score: np.ndarray
    is_probability: bool


def metrics_of_lists(
    lists: np.ndarray, users: np.ndarray, relevant: sparse.csr_array, train: sparse.csr_array, k: int
) -> dict[str, Metric]:
    """Return the ranking metrics of lists, and how much they lean towards popular items, by name.

    Args:
        lists: `(U, L)` item codes, best first, L at least k or the number of items.
        users: `(U,)` codes, each with a relevant item.
        relevant: `(users, items)` truth values.
        train: `(users, items)` numbers of training rows.
        k: how many places count.
    """
    lists = lists[:, :k]
    hits, wanted = hits_of(lists, users, relevant), relevant[users]
    popularity = np.asarray(train.sum(0)).ravel()
    each = ranking_metrics(hits, wanted.sum(1), k)
    found = {name: ratio(values) for name, values in each.items()}
    found |= _of_items(lists, popularity, k)
    found |= _by_decile(lists, hits, wanted, popularity, k)
    rows = train[users]
    history = (rows @ popularity) / np.maximum(rows.sum(1), 1)
    for name, inside in popularity_bias.user_groups(history).items():
        found[f"ndcg@{k}[{name} users]"] = ratio(np.where(inside, each[f"ndcg@{k}"], np.nan))
    return found


def _of_items(lists: np.ndarray, popularity: np.ndarray, k: int) -> dict[str, Metric]:
    """Return the metrics of what is recommended, whether relevant or not."""
    there = lists != NOTHING
    number = there.sum(1).astype(float)
    user = np.nonzero(there)[0]
    once = np.ones(len(user))
    times = sparse.csr_array((once, (user, lists[there])), shape=(len(lists), len(popularity)))

    def counts(weights: np.ndarray) -> np.ndarray:
        return np.asarray(weights @ times)

    tail = popularity_bias.is_tail(popularity)
    return {
        f"average_popularity@{k}": ratio(np.where(there, popularity[lists], 0).sum(1), number),
        f"tail_share@{k}": ratio((there & tail[lists]).sum(1), number),
        f"coverage@{k}": lambda weights: popularity_bias.coverage(counts(weights)),
        f"gini@{k}": lambda weights: popularity_bias.gini(counts(weights)),
        f"popularity_correlation@{k}": lambda weights: popularity_bias.rank_correlation(counts(weights), popularity),
    }


def _by_decile(
    lists: np.ndarray, hits: np.ndarray, wanted: sparse.csr_array, popularity: np.ndarray, k: int
) -> dict[str, Metric]:
    decile = popularity_bias.item_deciles(popularity)
    rows = wanted.tocoo()
    found = {}
    for number in range(1, popularity_bias.DECILES + 1):
        of_user = np.bincount(rows.row[decile[rows.col] == number], minlength=len(lists))
        hit = (hits & (decile[lists] == number)).sum(1)
        found[f"recall@{k}[decile {number}]"] = ratio(hit, of_user.astype(float))
    return found


def metrics_of_rows(rows: LabelledRows, users: int) -> dict[str, Metric]:
    """Return the metrics of labelled rows by name; those of probabilities where scores are probabilities.

    Args:
        rows: the rows.
        users: U.
    """

    def per_user(values: np.ndarray) -> np.ndarray:
        return np.bincount(rows.user, weights=values, minlength=users)

    number = per_user(np.ones(len(rows.user)))
    found: dict[str, Metric] = {
        "auc": lambda weights: probabilities.weighted_auc(rows.score, rows.label, weights[:, rows.user]),
        "user_auc": ratio(probabilities.user_auc(rows.user, rows.score, rows.label, users)),
    }
    if not rows.is_probability:
        return found
    losses: Mapping[str, np.ndarray] = probabilities.row_losses(rows.score, rows.label)
    found |= {name: ratio(per_user(values), number) for name, values in losses.items()}
    cell = rows.user * probabilities.BINS + probabilities.calibration_bins(rows.score)
    gap = np.bincount(cell, weights=rows.label - rows.score, minlength=users * probabilities.BINS).reshape(users, -1)
    found["calibration_error"] = lambda weights: np.abs(weights @ gap).sum(1) / (weights @ number)
    return found
