"""Posterior tables: popularity, one row per cell (an item and a period), and global parameters."""

from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.distributions import quantile
from pyro_popbias.errors import ConfigError
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import PopularityModel

CONDITIONAL = (
    "Intervals of popularity are conditional on the estimated affinities: they are right where the affinities are known, and "
    "too narrow where vectors are learned from the same rows."
)


def check_interval(interval: object) -> float:
    """Return the interval as Python's own number, or refuse it; numpy's numbers are numbers, booleans are not.

    Raises:
        ConfigError: it is not a number between 0 and 1.
    """
    if isinstance(interval, bool) or not isinstance(interval, Real) or not 0 < float(interval) < 1:
        raise ConfigError(f"PB-C083: interval must be above 0 and below 1, not {interval!r}")
    return float(interval)


def popularity_table(
    model: PopularityModel, guide: JointGuide, catalogue: Catalogue, *, interval: float
) -> pd.DataFrame:
    """Return one row per cell: item, period, count, positives, mean, sd, lower, upper, prior_mean, prior_only.

    Cells without rows are reported from the prior. A point has neither sd nor interval: they are NaN.
    """
    tail = (1 - check_interval(interval)) / 2
    with torch.no_grad():
        cell = torch.arange(catalogue.cells, device=guide.device)
        prior, q = model.prior.distribution(cell), guide.popularity.posterior(cell)
        prior_only = catalogue.count == 0
        of_prior, of_q = _summary(prior, tail), _summary(q, tail)
        columns: dict[str, Any] = {
            name: np.where(prior_only, of_prior[name].cpu().numpy(), value.cpu().numpy())
            for name, value in of_q.items()
        }
        columns["prior_mean"] = prior.mean.cpu().numpy()
    return catalogue.cell_frame().assign(**columns, prior_only=prior_only)


def _summary(distribution: Distribution, tail: float) -> dict[str, Tensor]:
    """Return mean, sd, lower and upper of distributions, `(D,)` each."""
    if isinstance(distribution, Delta):
        unknown = torch.full_like(distribution.v, torch.nan)
        return {"mean": distribution.v, "sd": unknown, "lower": unknown, "upper": unknown}
    ends = {"lower": quantile(distribution, tail), "upper": quantile(distribution, 1 - tail)}
    return {"mean": distribution.mean, "sd": distribution.stddev, **ends}


def parameter_table(model: PopularityModel, guide: JointGuide, *, interval: float) -> pd.DataFrame:
    """Return one row per global parameter: name, mean, sd, lower, upper; the last three NaN for point estimates."""
    tail = (1 - interval) / 2
    with torch.no_grad():
        unknown = {"sd": np.nan, "lower": np.nan, "upper": np.nan}
        rows = [{"name": name, "mean": float(value), **unknown} for name, value in model.estimates().items()]
        for site, distribution in guide.global_weights().items():
            columns = {name: value.cpu().tolist() for name, value in _summary(distribution, tail).items()}
            for k, values in enumerate(zip(*columns.values(), strict=True)):
                rows.append({"name": f"{site}[{k}]", **dict(zip(columns, values, strict=True))})
    return pd.DataFrame(rows)
