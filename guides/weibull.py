"""The Weibull guide."""

import math
from typing import final

import torch
from pyro.distributions import Weibull
from torch import Tensor
from torch import distributions as td
from torch.distributions import Distribution, constraints

from pyro_popbias.distributions.kl import moments
from pyro_popbias.guides.nearest_member import nearest
from pyro_popbias.guides.popularity_guide import GUIDES
from pyro_popbias.guides.row_guide import RowGuide

# log Gamma(1 + k_p / k_q) of the KL between two Weibull distributions overflows where k_q is far below k_p
LEAST_CONCENTRATION = 0.1


def _above_least(concentration: Tensor) -> Tensor:
    """Return the column of a concentration; one at or below the least becomes one that is just above it."""
    return torch.log((concentration - LEAST_CONCENTRATION).clamp(min=1e-3 * LEAST_CONCENTRATION))


@final
@GUIDES.register("weibull")
class WeibullGuide(RowGuide):
    """q(z) = Weibull with a scale and a concentration per cell; the concentration is .1 + exp(log_concentration)."""

    family = Weibull
    columns = ("log_scale", "log_concentration")
    support = constraints.positive

    @classmethod
    def start(cls, prior: Distribution) -> Tensor:
        """Return argmin KL(Weibull || prior), `(..., 2)`; a Weibull prior itself where its concentration is above .1."""
        if isinstance(prior, td.Weibull):
            return torch.stack([prior.scale.log(), _above_least(prior.concentration)], dim=-1)
        # Var log z = pi^2 / (6 k^2), E z = scale Gamma(1 + 1/k)
        k = (math.pi / torch.sqrt(6 * moments(prior).log_variance)).clamp(min=2 * LEAST_CONCENTRATION)
        matched = torch.stack([prior.mean.log() - torch.lgamma(1 + 1 / k), _above_least(k)], dim=-1)
        return nearest(cls.from_rows, matched, prior)

    @classmethod
    def from_rows(cls, rows: Tensor) -> Weibull:
        """Return Weibull(scale, concentration), `(D,)`."""
        scale, above = rows.exp().unbind(-1)
        return Weibull(scale, LEAST_CONCENTRATION + above)
