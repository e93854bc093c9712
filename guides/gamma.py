"""The Gamma guide, conjugate in kind to the Gamma prior."""

from typing import final

import torch
from pyro.distributions import Gamma
from torch import Tensor
from torch import distributions as td
from torch.distributions import Distribution, constraints

from pyro_popbias.distributions.kl import moments
from pyro_popbias.guides.nearest_member import nearest
from pyro_popbias.guides.popularity_guide import GUIDES, Bounds
from pyro_popbias.guides.row_guide import RowGuide


@final
@GUIDES.register("gamma")
class GammaGuide(RowGuide):
    """q(z) = Gamma with a mean and a concentration per cell."""

    family = Gamma
    columns = ("log_mean", "log_concentration")
    support = constraints.positive
    bounds = Bounds(mean=0.02, high=0.15)

    @classmethod
    def start(cls, prior: Distribution) -> Tensor:
        """Return argmin KL(Gamma || prior), `(..., 2)`; a Gamma prior itself."""
        if isinstance(prior, td.Gamma):
            return torch.stack([torch.log(prior.concentration / prior.rate), torch.log(prior.concentration)], dim=-1)
        of_log = moments(prior)
        # psi'(a) = Var log z, to within a quarter; psi(a) - log(rate) = E log z
        a = 1 / of_log.log_variance + of_log.log_variance.rsqrt()
        matched = torch.stack([of_log.log_mean + torch.log(a) - torch.digamma(a), torch.log(a)], dim=-1)
        return nearest(cls.from_rows, matched, prior)

    @classmethod
    def from_rows(cls, rows: Tensor) -> Gamma:
        """Return Gamma(a, a / mean), `(D,)`."""
        mean, concentration = rows.exp().unbind(-1)
        return Gamma(concentration, concentration / mean)
