"""The Exponential guide: one number per cell, which sets both location and spread."""

from typing import final

import torch
from pyro.distributions import Exponential
from torch import Tensor
from torch import distributions as td
from torch.distributions import Distribution, constraints

from pyro_popbias.distributions.kl import EULER
from pyro_popbias.guides.nearest_member import nearest
from pyro_popbias.guides.popularity_guide import GUIDES
from pyro_popbias.guides.row_guide import RowGuide


@final
@GUIDES.register("exponential")
class ExponentialGuide(RowGuide):
    """q(z) = Exponential with a mean per cell; its spread does not shrink with the number of rows."""

    family = Exponential
    columns = ("log_mean",)
    support = constraints.positive

    @classmethod
    def start(cls, prior: Distribution) -> Tensor:
        """Return argmin KL(Exponential || prior), `(..., 1)`; an Exponential prior itself."""
        if isinstance(prior, td.LogNormal):
            # the same E log z
            log_mean = prior.loc + EULER
        elif isinstance(prior, td.Weibull):
            # E (z/l)^k = 1/k; from elsewhere the search meets numbers like e^k
            log_mean = prior.scale.log() - torch.lgamma(1 + prior.concentration) / prior.concentration
        else:
            # exact under Gamma and Exponential distributions
            log_mean = prior.mean.log()
        return nearest(cls.from_rows, log_mean.unsqueeze(-1), prior)

    @classmethod
    def from_rows(cls, rows: Tensor) -> Exponential:
        """Return Exponential(1 / mean), `(D,)`."""
        return Exponential((-rows.squeeze(-1)).exp())
