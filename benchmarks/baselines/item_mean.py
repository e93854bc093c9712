"""Item mean: the share of an item's rows that are positives."""

from typing import final

import numpy as np

from .baseline import Untrained
from .log import Log


@final
class ItemMean(Untrained):
    """score(u, i) = (p_i + s p) / (n_i + s): p_i positives in n_i rows, shrunk towards the share p of the whole log."""

    grid = [{"shrinkage": each} for each in (0.0, 1.0, 2.0, 5.0, 10.0, 20.0)]  # noqa: RUF012
    needs_labels = True

    def __init__(self, log: Log, *, seed: int, shrinkage: float = 2.0) -> None:
        super().__init__(log, seed=seed)
        self.shrinkage = shrinkage

    def item_scores(self) -> np.ndarray:
        """Return the shrunk shares; without shrinkage, items without rows have the share of the log."""
        positives, rows = (self.log.item_counts(positives=each) for each in (True, False))
        overall = positives.sum() / rows.sum()
        strength = max(self.shrinkage, 1e-9)
        return (positives + strength * overall) / (rows + strength)
