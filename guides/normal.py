"""The Normal guide, for a popularity on the real line."""

from typing import final

import torch
from pyro.distributions import Normal
from torch import Tensor
from torch import distributions as td
from torch.distributions import Distribution, constraints

from pyro_popbias.guides.popularity_guide import GUIDES
from pyro_popbias.guides.row_guide import RowGuide


@final
@GUIDES.register("normal")
class NormalGuide(RowGuide):
    """q(z) = Normal with a location and a scale of z per cell."""

    family = Normal
    columns = ("loc", "log_scale")
    support = constraints.real

    @classmethod
    def start(cls, prior: Distribution) -> Tensor:
        """Return the prior itself, `(..., 2)`."""
        assert isinstance(prior, td.Normal)  # noqa: S101
        return torch.stack([prior.loc, torch.log(prior.scale)], dim=-1)

    @classmethod
    def from_rows(cls, rows: Tensor) -> Normal:
        """Return Normal(loc, scale), `(D,)`."""
        loc, log_scale = rows.unbind(-1)
        return Normal(loc, log_scale.exp())
