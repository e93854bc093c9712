"""Popularity beyond the last period: by a random walk, with its distribution, or on a line, as a point.

A fit whose prior is a random walk knows how far popularity moves in a period: h periods after the last, log z (or a real z) has
the variance of its posterior there and h times that of a step. Without a walk {"forecast": a} continues the last move of the
posterior means m of an item's popularity,

    m_T + a (m_T - m_{T-1})

As PDA does on counts (Zhang et al. 2021), here on posteriors. An item silent in a period keeps the mean of its last
period with rows; one without an earlier period does not move, and one without any rows has the mean of its prior.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.distributions.summary import summary
from pyro_popbias.errors import ConfigError
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import PopularityModel, RandomWalkPrior

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
        if catalogue.periods == 1:
            raise ConfigError(
                "PB-C372: a forecast needs two periods or more, and the fit has one; fit with a time column and periods, or "
                "choose another popularity"
            )
        with torch.no_grad():
            mean, of_prior = (each.mean.expand(catalogue.cells).cpu().numpy() for each in (posterior, prior))
        last, move = last_values(mean, of_prior, catalogue)
        found = last + self.share * move
        return np.maximum(found, LEAST) if is_positive else found


def forecast_values(
    forecast: Forecast, model: PopularityModel, guide: JointGuide, catalogue: Catalogue, items: "pd.Index[str]"
) -> Tensor:
    """Return the forecast of items by id, `(n,)`; that of unseen ones is the mean of the population.

    Raises:
        ConfigError: there is one period.
    """
    cell = torch.arange(catalogue.cells, device=guide.device)
    positive = model.latents["popularity"].support is not constraints.real
    with torch.no_grad():
        q, prior = guide.popularity.posterior(cell), model.prior.distribution(cell)
        values = torch.from_numpy(forecast.of(q, prior, catalogue, is_positive=positive)).to(cell.device)
        code = torch.from_numpy(catalogue.items.get_indexer(items)).to(cell.device)
        return torch.where(code < 0, model.prior.population().mean.double(), values[code.clamp(min=0)])


def last_values(of_q: np.ndarray, of_prior: np.ndarray, catalogue: Catalogue) -> tuple[np.ndarray, np.ndarray]:
    """Return each item's value in its last period with rows, and how far it has moved since the one before, `(K,)` each.

    An item without rows has the value of its prior, and one without an earlier period does not move.

    Args:
        of_q: `(K * T,)` such as the mean of q of each cell.
        of_prior: `(K * T,)` the same of its prior.
        catalogue: it counts the rows of cells.
    """
    periods = catalogue.periods
    of_q, of_prior = of_q.reshape(-1, periods), of_prior.reshape(-1, periods)
    there = catalogue.count.reshape(-1, periods) > 0
    # the latest period with rows up to each, -1 before any
    latest = np.maximum.accumulate(np.where(there, np.arange(periods), -1), axis=1)
    now, before = latest[:, -1], latest[:, -2] if periods > 1 else np.full(len(latest), -1)
    item = np.arange(len(of_q))
    last = np.where(now >= 0, of_q[item, now], of_prior[:, -1])
    return last, np.where(before >= 0, last - of_q[item, before], 0.0)


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


def walk_of(model: PopularityModel) -> RandomWalkPrior:
    """Return the random walk that a model's prior is.

    Raises:
        ConfigError: it is none.
    """
    if isinstance(model.prior, RandomWalkPrior):
        return model.prior
    raise ConfigError(
        "PB-C440: only a random walk says how popularity goes on; fit with periods and [model.prior] drift = 'random-walk', or "
        'choose {"forecast": a}, a point on the line through the last two periods (--popularity forecast=0.5 on the command line)'
    )


def forecast_table(
    model: PopularityModel, guide: JointGuide, catalogue: Catalogue, periods: int, *, interval: float
) -> pd.DataFrame:
    """Return item, period, mean, sd, lower, upper and prior_only of every item in some periods after the last.

    Args:
        model: whose prior is a random walk.
        guide: the trained guide.
        catalogue: ids and counts.
        periods: how many.
        interval: probability between lower and upper.

    Raises:
        ConfigError: the prior is no random walk.
    """
    walk, tail = walk_of(model), (1 - interval) / 2
    last = torch.arange(catalogue.periods - 1, catalogue.cells, catalogue.periods, device=guide.device)
    prior_only = catalogue.without_rows(by_item=True)[:: catalogue.periods]
    with torch.no_grad():
        starts = guide.popularity.posterior(last), walk.distribution(last)
        ahead = range(1, periods + 1)
        of_q, of_prior = ([summary(walk.after(start, h), tail) for h in ahead] for start in starts)
    columns = {
        name: np.stack(
            [np.where(prior_only, p[name].cpu(), q[name].cpu()) for q, p in zip(of_q, of_prior, strict=True)], axis=1
        ).ravel()
        for name in of_q[0]
    }
    period = np.tile(catalogue.periods - 1 + np.arange(1, periods + 1), len(catalogue.items))
    repeated = {"item": catalogue.items.repeat(periods), "period": period}
    return pd.DataFrame({**repeated, **columns, "prior_only": prior_only.repeat(periods)})
