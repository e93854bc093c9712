"""Mean, standard deviation and interval of distributions, for tables."""

import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.distributions.quantile import quantile


def summary(distribution: Distribution, tail: float) -> dict[str, Tensor]:
    """Return mean, sd, lower and upper of distributions, `(D,)` each."""
    if isinstance(distribution, Delta):
        unknown = torch.full_like(distribution.v, torch.nan)
        return {"mean": distribution.v, "sd": unknown, "lower": unknown, "upper": unknown}
    ends = {"lower": quantile(distribution, tail), "upper": quantile(distribution, 1 - tail)}
    return {"mean": distribution.mean, "sd": distribution.stddev, **ends}
