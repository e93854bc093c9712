"""Most popular: the number of an item's positives."""

from typing import final

import numpy as np

from .baseline import Untrained


@final
class MostPopular(Untrained):
    """score(u, i) = n_i, the number of training positives of the item."""

    grid = [{}]  # noqa: RUF012 - declared a class variable by Baseline

    def item_scores(self) -> np.ndarray:
        """Return the counts."""
        return self.log.item_counts(positives=True)
