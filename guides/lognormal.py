"""The LogNormal guide."""

from typing import final

import torch
from pyro.distributions import Gamma, LogNormal
from pyro_popbias.guides.popularity_guide import GUIDES, PopularityGuide
from torch import Tensor
from torch.distributions import Distribution, constraints


@final
@GUIDES.register("lognormal")
class LogNormalGuide(PopularityGuide):
    """q(z) = LogNormal with a location and a scale of log z per cell."""

    family = LogNormal
    columns = ("loc", "log_scale")
    support = constraints.positive

    @classmethod
    def start(cls, prior: Distribution) -> Tensor:
        """Return argmin KL(LogNormal || Gamma(a, b)): loc log(a/b) - 1/(2a), scale a^(-1/2), `(..., 2)`."""
        assert isinstance(prior, Gamma)  # noqa: S101
        a = prior.concentration
        return torch.stack([torch.log(a / prior.rate) - 0.5 / a, -0.5 * torch.log(a)], dim=-1)

    @classmethod
    def law(cls, rows: Tensor) -> LogNormal:
        """Return LogNormal(loc, scale), `(D,)`."""
        loc, log_scale = rows.unbind(-1)
        return LogNormal(loc, log_scale.exp())
