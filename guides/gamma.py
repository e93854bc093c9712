"""The Gamma guide, conjugate in kind to the Gamma prior."""

from typing import final

import torch
from pyro.distributions import Gamma
from pyro_popbias.guides.popularity_guide import GUIDES, PopularityGuide
from torch import Tensor
from torch.distributions import Distribution, constraints


@final
@GUIDES.register("gamma")
class GammaGuide(PopularityGuide):
    """q(z) = Gamma with a mean and a concentration per cell."""

    family = Gamma
    columns = ("log_mean", "log_concentration")
    support = constraints.positive

    @classmethod
    def start(cls, prior: Distribution) -> Tensor:
        """Return the prior itself, `(..., 2)`."""
        assert isinstance(prior, Gamma)  # noqa: S101
        return torch.stack([torch.log(prior.concentration / prior.rate), torch.log(prior.concentration)], dim=-1)

    @classmethod
    def law(cls, rows: Tensor) -> Gamma:
        """Return Gamma(a, a / mean), `(D,)`."""
        mean, concentration = rows.exp().unbind(-1)
        return Gamma(concentration, concentration / mean)
