"""Popularity beyond the last period: m_T + a (m_T - m_{T-1}), on posterior means m of an item's popularity.

As PDA does on counts (Zhang et al. 2021), here on posteriors. An item silent in a period keeps the mean of its last
period with rows; one without an earlier period does not move, and one without any rows has the mean of its prior.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch.distributions import Distribution

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.errors import ConfigError

LEAST = 1e-9  # of a popularity that is positive


@dataclass(frozen=True)
class Forecast:
    """The popularity of the next period.

    Attributes:
        share: a, how much of the last move is repeated: 0 is the last period, 1 a straight line.
    """

    share: float

    def of(
        self, posterior: Distribution, prior: Distribution, catalogue: Catalogue, *, is_positive: bool
    ) -> np.ndarray:
        """Return the popularity of each item, `(K,)`.

        Args:
            posterior: q of all cells, `(K * T,)`.
            prior: of all cells, `(K * T,)`.
            catalogue: it counts the rows of cells.
            is_positive: whether popularity lives above 0.

        Raises:
            ConfigError: there is one period.
        """
        periods = catalogue.periods
        if periods == 1:
            raise ConfigError(
                "PB-C372: a forecast needs two periods or more, and the fit has one; fit with a time column and periods, or "
                "choose another popularity"
            )
        with torch.no_grad():
            mean, of_prior = (each.mean.expand(catalogue.cells).cpu().numpy() for each in (posterior, prior))
        there = catalogue.count.reshape(-1, periods) > 0
        mean, of_prior = mean.reshape(-1, periods), of_prior.reshape(-1, periods)
        latest = np.maximum.accumulate(
            np.where(there, np.arange(periods), -1), axis=1
        )  # period with rows, -1 before any
        now, before = latest[:, -1], latest[:, -2]
        item = np.arange(len(mean))
        last = np.where(now >= 0, mean[item, now], of_prior[:, -1])
        move = np.where(before >= 0, last - mean[item, before], 0.0)
        found = last + self.share * move
        return np.maximum(found, LEAST) if is_positive else found


def read_forecast(popularity: object) -> Forecast | None:
    """Return what `{"forecast": share}` asks for; None for anything else.

    Raises:
        ConfigError: the share is not a finite number.
    """
    if not (isinstance(popularity, Mapping) and set(popularity) == {"forecast"}):
        return None
    share: Any = popularity["forecast"]
    if isinstance(share, bool) or not isinstance(share, Real) or not math.isfinite(float(share)):
        raise ConfigError(f'PB-C373: the share of {{"forecast": {share!r}}} must be a finite number, such as 0.5')
    return Forecast(float(share))
