"""Replicated counts of rows, where the model has an exposure part: is the spread of exposure that of the fit?

| statistic | meaning |
| --- | --- |
| spread of counts | standard deviation of log count over cells with a row |
| Gini of counts | Gini index of the counts of the same cells: rows against cells |

Counts are of training rows. A replicate has a count for each cell with any; cells whose replicated count is 0 are left out of
its statistics, as cells without rows are of the observed ones.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.checks.statistics import gini
from pyro_popbias.models import PopularityModel
from pyro_popbias.models.exposures import Exposure

COUNTS = [("spread of counts", ""), ("Gini of counts", "")]


@dataclass(frozen=True)
class ReplicatedCounts:
    """Counts of the cells with training rows.

    Attributes:
        exposure: the distribution of counts.
        cell: `(D,)` cells with training rows.
    """

    exposure: Exposure
    cell: Tensor

    @classmethod
    def of(cls, model: PopularityModel) -> Self | None:
        """Return the counts of a model; None where it has no exposure part."""
        exposure = model.exposure
        return None if exposure is None else cls(exposure, exposure.count.nonzero().squeeze(-1))

    def observed(self) -> np.ndarray:
        """Return the statistics of the observed counts, `(2,)`, in the order of `COUNTS`."""
        return statistics_of(self.exposure.count.index_select(0, self.cell).cpu().numpy())

    def replicate(self, distribution: Distribution) -> np.ndarray:
        """Return the statistics of counts drawn from torch's random state, `(2,)`.

        Args:
            distribution: `(D,)` of the popularity of the cells.
        """
        return statistics_of(self.exposure.of(self.cell, distribution.sample()).sample().cpu().numpy())


def statistics_of(count: np.ndarray) -> np.ndarray:
    """Return the statistics of counts `(D,)`, in the order of `COUNTS`; 0 where no cell has a row."""
    count = count[count > 0]
    return np.array([np.log(count).std(), gini(count, np.ones_like(count))]) if len(count) else np.zeros(2)
