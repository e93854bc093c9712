"""Metrics of labelled rows: areas under ROC curves, log-loss, Brier score and calibration error."""

import numpy as np
from scipy.special import xlogy
from scipy.stats import rankdata

BINS = 10


def row_losses(probability: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
    """Return the log-loss in nats and the squared error of each row, `(N,)`.

    Args:
        probability: `(N,)` P(c=1).
        label: `(N,)` 0 or 1.
    """
    loss = -(xlogy(label, probability) + xlogy(1 - label, 1 - probability))
    return {"log_loss": loss, "brier": (label - probability) ** 2}


def calibration_bins(probability: np.ndarray) -> np.ndarray:
    """Return the bin of each row, `(N,)`: ten bins of equally many rows, by probability."""
    found = np.empty(len(probability), dtype=np.int64)
    for number, part in enumerate(np.array_split(np.argsort(probability, kind="stable"), BINS)):
        found[part] = number
    return found


def user_auc(user: np.ndarray, score: np.ndarray, label: np.ndarray, users: int) -> np.ndarray:
    """Return the share of pairs of a user's positive and negative rows in the right order, ties a half, `(users,)`.

    NaN for users with rows of one class only.

    Args:
        user: `(N,)` codes.
        score: `(N,)`.
        label: `(N,)` 0 or 1.
        users: number of users.
    """
    order = np.lexsort((score, user))
    codes, scores = user[order], score[order]
    new = (
        np.concatenate([[True], (codes[1:] != codes[:-1]) | (scores[1:] != scores[:-1])])
        if len(order)
        else np.zeros(0, bool)
    )
    tie = np.cumsum(new) - 1
    position = np.arange(len(order)) - np.searchsorted(codes, codes)
    rank = (np.bincount(tie, weights=position) / np.bincount(tie))[tie] + 1 if len(order) else position
    positive = np.bincount(codes, weights=label[order], minlength=users)
    negative = np.bincount(codes, minlength=users) - positive
    ranks = np.bincount(codes, weights=rank * label[order], minlength=users)
    with np.errstate(invalid="ignore"):
        return np.where(
            positive * negative > 0, (ranks - positive * (positive + 1) / 2) / (positive * negative), np.nan
        )


def weighted_auc(score: np.ndarray, label: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve under each set of weights, `(B,)`; NaN where a class has no weight.

    Args:
        score: `(N,)`.
        label: `(N,)` 0 or 1.
        weights: `(B, N)`, 0 or more.
    """
    tie = rankdata(score, method="dense") - 1
    order = np.argsort(tie, kind="stable")
    starts = np.flatnonzero(np.diff(tie[order], prepend=-1))
    found = np.empty(len(weights))
    for number, weight in enumerate(weights):
        ordered = weight[order]
        positive, negative = (np.add.reduceat(ordered * part[order], starts) for part in (label, 1 - label))
        below = np.cumsum(negative) - negative / 2
        pairs = positive.sum() * negative.sum()
        found[number] = (positive @ below) / pairs if pairs else np.nan
    return found
