"""Matrix factorization weighted by inverse propensities."""

from typing import Any, final

import torch
from torch import Tensor

from .log import Log
from .mf import LogisticFactors
from .sampling import Batch


@final
class IPS(LogisticFactors):
    """MF whose rows weigh 1 / max(p_i, clip), scaled to a mean of 1; p_i = (n_i / max n)^eta, n_i an item's rows.

    Schnabel, Swaminathan, Singh, Chandak, Joachims (2016), Recommendations as treatments; the propensity is that of
    Saito, Yaginuma, Nishino, Sakata, Nakata (2020), Unbiased recommender learning from missing-not-at-random implicit
    feedback. A positive's negatives have its weight.
    """

    grid = [  # noqa: RUF012
        {"l2": l2, "eta": eta, "bias": bias}
        for l2 in (1e-3, 1e-1)
        for eta in (0.25, 0.5, 1.0)
        for bias in (False, True)
    ]

    def __init__(self, log: Log, *, seed: int, eta: float = 0.5, clip: float = 0.01, **setting: Any) -> None:
        """Draw the vectors.

        Args:
            log: training rows.
            seed: of the vectors and the batches.
            eta: power of the share.
            clip: least propensity that is used.
            setting: see `LogisticFactors`.
        """
        super().__init__(log, seed=seed, **setting)
        count = torch.as_tensor(log.item_counts(positives=False), dtype=torch.float32)
        weight = 1 / ((count / count.max()) ** eta).clamp(min=clip)
        self.weight = weight / ((weight * count).sum() / count.sum())

    def row_weights(self, batch: Batch) -> Tensor:
        """Return the weights of the rows' items."""
        return self.weight.index_select(0, batch.item[:, 0])
