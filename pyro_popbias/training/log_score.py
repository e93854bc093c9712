"""The held-out log-score: log P of labels with popularity and affinity integrated over."""

import torch

from pyro_popbias.assembly.pair import BLOCK, Pair
from pyro_popbias.data.batches import TrainingBatches


def log_score(pair: Pair, rows: TrainingBatches) -> float:
    """Return the mean log P(c) of rows with popularity and affinity integrated over their distributions, in nats per row.

    A popularity of a row's own is drawn anew for every row, so its distribution is the prior and not q.
    """
    total, number = torch.zeros((), dtype=torch.float64), 0
    distribution = pair.guide.popularity.posterior if rows.latent == "item" else pair.model.prior.distribution
    with torch.no_grad():
        weights = pair.guide.weights()
        for batch in rows.blocks(BLOCK):
            affinity = pair.model.pairs(batch.user, batch.item, batch.score, weights)
            scores = pair.model.log_score(batch, affinity, distribution(batch.cell))
            total, number = total + scores.sum().cpu(), number + len(scores)
    return float(total / number)
