"""The LogNormal guide."""

from typing import final

import torch
from pyro.distributions import LogNormal
from torch import Tensor
from torch import distributions as td
from torch.distributions import Distribution, constraints

from pyro_popbias.distributions.kl import moments
from pyro_popbias.guides.nearest_member import nearest
from pyro_popbias.guides.popularity_guide import GUIDES, Bounds
from pyro_popbias.guides.row_guide import RowGuide


@final
@GUIDES.register("lognormal")
class LogNormalGuide(RowGuide):
    """q(z) = LogNormal with a location and a scale of log z per cell."""

    family = LogNormal
    columns = ("loc", "log_scale")
    support = constraints.positive
    bounds = Bounds(mean=0.02, high=0.15)

    @classmethod
    def start(cls, prior: Distribution) -> Tensor:
        """Return argmin KL(LogNormal || prior), `(..., 2)`; a LogNormal prior itself."""
        if isinstance(prior, td.LogNormal):
            return torch.stack([prior.loc, torch.log(prior.scale)], dim=-1)
        if isinstance(prior, td.Gamma):
            # loc log(a/b) - 1/(2a), scale a^(-1/2)
            a = prior.concentration
            return torch.stack([torch.log(a / prior.rate) - 0.5 / a, -0.5 * torch.log(a)], dim=-1)
        of_log = moments(prior)
        return nearest(
            cls.from_rows, torch.stack([of_log.log_mean, 0.5 * torch.log(of_log.log_variance)], dim=-1), prior
        )

    @classmethod
    def from_rows(cls, rows: Tensor) -> LogNormal:
        """Return LogNormal(loc, scale), `(D,)`."""
        loc, log_scale = rows.unbind(-1)
        return LogNormal(loc, log_scale.exp())
