"""Posterior tables and draws of popularity, one row or column a cell."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.distributions import Distribution, Gamma, LogNormal

from pyro_popbias.distributions import quantile
from pyro_popbias.errors import ConfigError
from pyro_popbias.guides import PopularityGuide
from pyro_popbias.interactions import Catalogue
from pyro_popbias.models import PopularityModel


def check_interval(interval: float) -> float:
    """Return the interval, or refuse it.

    Raises:
        ConfigError: it is not a number between 0 and 1.
    """
    if isinstance(interval, bool) or not isinstance(interval, int | float) or not 0 < interval < 1:
        raise ConfigError(f"PB-C083: interval must be above 0 and below 1, not {interval!r}")
    return float(interval)


def popularity_table(
    model: PopularityModel, guide: PopularityGuide, catalogue: Catalogue, *, interval: float
) -> pd.DataFrame:
    """Return one row a cell: item, period, count, positives, mean, sd, lower, upper, prior_mean, prior_only.

    Cells without rows are reported from the prior.
    """
    tail = (1 - check_interval(interval)) / 2
    with torch.no_grad():
        cell = torch.arange(catalogue.cells, device=guide.rows.device)
        prior, q = model.prior.law(cell), guide.posterior(cell)
        prior_only = catalogue.count == 0
        columns: dict[str, Any] = {
            name: np.where(prior_only, value(prior).cpu().numpy(), value(q).cpu().numpy())
            for name, value in {
                "mean": lambda law: law.mean,
                "sd": lambda law: law.stddev,
                "lower": lambda law: quantile(law, tail),
                "upper": lambda law: quantile(law, 1 - tail),
            }.items()
        }
        columns["prior_mean"] = prior.mean.cpu().numpy()
    return catalogue.cell_frame().assign(**columns, prior_only=prior_only)


def parameter_table(model: PopularityModel) -> pd.DataFrame:
    """Return one row a global parameter: name, mean, sd, lower, upper; NaN where it is point-estimated."""
    with torch.no_grad():
        values = {name: float(value) for name, value in model.estimates().items()}
    unknown = np.full(len(values), np.nan)
    return pd.DataFrame(
        {"name": list(values), "mean": list(values.values()), "sd": unknown, "lower": unknown, "upper": unknown}
    )


def draw(law: Distribution, *, draws: int, seed: int, keys: Iterable[int]) -> np.ndarray:
    """Return seeded draws `(draws, D)` of a batch of D laws; a key's draws are the same in any selection.

    Args:
        law: Gamma or LogNormal laws `(D,)`.
        draws: number of draws.
        seed: with a key, decides the draws.
        keys: `(D,)` one whole number a law.
    """
    streams = [np.random.default_rng((seed, key)) for key in keys]
    if isinstance(law, Gamma):
        shape, rate = _numpy(law.concentration), _numpy(law.rate)
        unit = [stream.standard_gamma(a, size=draws) for stream, a in zip(streams, shape, strict=True)]
        return np.stack(unit, axis=1) / rate
    if isinstance(law, LogNormal):
        normal = np.stack([stream.standard_normal(draws) for stream in streams], axis=1)
        return np.asarray(np.exp(_numpy(law.loc) + _numpy(law.scale) * normal))
    raise NotImplementedError(f"no seeded draws of {type(law).__name__}")


def _numpy(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor.detach().cpu().numpy())
