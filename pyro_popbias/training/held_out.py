"""The held-out log-score, by which a training stops, and how such scores are compared: one that is not a number is the worst."""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch

from pyro_popbias.assembly.pair import BLOCK, Pair
from pyro_popbias.data.batches import TrainingBatches
from pyro_popbias.errors import DataWarning


def log_score(pair: Pair, rows: TrainingBatches) -> float:
    """Return the mean log P(c) of rows with popularity and affinity integrated over their distributions, in nats per row.

    A popularity of a row's own is drawn anew for every row, so its distribution is the prior and not q.
    """
    total, scored = torch.zeros((), dtype=torch.float64), 0
    distribution = pair.guide.popularity.posterior if rows.latent == "item" else pair.model.prior.distribution
    with torch.no_grad():
        weights = pair.guide.weights()
        for batch in rows.blocks(BLOCK):
            affinity = pair.model.pairs(batch.user, batch.item, batch.score, weights)
            scores = pair.model.log_score(batch, affinity, distribution(batch.cell))
            total, scored = total + scores.sum().cpu(), scored + len(scores)
    total, number = rows.total(torch.stack([total, torch.tensor(scored).double()]))
    return said(float(total / number), "log-score")


def said(score: float, metric: str) -> float:
    """Return a score of held-out rows, with a warning where it is not a number.

    Args:
        score: the score.
        metric: its name.
    """
    if math.isnan(score):
        message = (
            f"PB-N021: the {metric} of held-out rows is not a number, and counts as the worst; if it stays so, lower "
            "training.learning_rate, and look at the columns of scores and features"
        )
        warnings.warn(message, DataWarning, stacklevel=2)
    return score


def beats(score: float, best: float) -> bool:
    """Return whether an epoch is better than the best before it.

    Where no epoch has had a number yet, as without held-out rows, the latest is the best; a later number is better than that.
    """
    return math.isnan(best) or score > best


def highest(scores: Sequence[float] | np.ndarray) -> int:
    """Return the place of the highest score; one that is not a number is below all others."""
    found = np.asarray(scores, dtype=float)
    return int(np.argmax(np.where(np.isnan(found), -np.inf, found)))
