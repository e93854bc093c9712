"""The held-out log-score, by which a training stops."""

import torch

from pyro_popbias.assembly.pair import BLOCK, Pair
from pyro_popbias.data.batches import TrainingBatches


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
    return float(total / number)
