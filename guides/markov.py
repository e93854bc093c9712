"""The guide of a popularity that moves in time: neighbouring periods of an item are correlated in q, too."""

from typing import Literal, Self, final

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.data.batch import Batch
from pyro_popbias.distributions.chains import GaussianChain, LogNormalChain, NormalChain
from pyro_popbias.distributions.compatibility import closed_kl, kind_of_kl
from pyro_popbias.guides.lognormal import LogNormalGuide
from pyro_popbias.guides.normal import NormalGuide
from pyro_popbias.guides.popularity_guide import GUIDES, Bounds, CellStatistics, PopularityGuide
from pyro_popbias.guides.row_guide import start_rows
from pyro_popbias.sparse_lookup import gather


@final
@GUIDES.register("markov")
class MarkovGuide(PopularityGuide):
    """q(y_t | y_{t-1}) = Normal(m_t + c_t (y_{t-1} - m_{t-1}), s_t) with y = log z, or y = z where it is real.

    So q of an item is one Normal of all its periods with a tridiagonal precision, which has three numbers per cell: the mean m_t
    of y_t, log s_t and c_t. With one period it is the guide `lognormal` or `normal`.

    Args:
        prior: `(C,)` prior of every cell, or a scalar batch shared by all.
        cells: C, the number of cells.
        periods: T.
    """

    bounds = Bounds(mean=0.02, high=0.15)
    joins_periods = True
    rows: Tensor

    def __init__(self, prior: Distribution, cells: int, periods: int) -> None:
        super().__init__()
        assert prior.support is not None  # noqa: S101  every prior has one
        is_positive = LogNormalGuide.fits(prior.support)
        self.periods, self._family = periods, LogNormalChain if is_positive else NormalChain
        local = start_rows(LogNormalGuide if is_positive else NormalGuide, prior, cells)
        start = torch.cat([local, torch.zeros_like(local[:, :1])], dim=1)
        self.rows = PyroParam(start, constraints.real)  # type: ignore[assignment]  # read back as a tensor

    @classmethod
    def build(cls, prior: Distribution, cells: CellStatistics) -> Self:
        """Return the guide at its start."""
        return cls(prior, len(cells), cells.periods)

    @classmethod
    def fits(cls, support: constraints.Constraint) -> bool:
        """Return whether the support is positive or the real line."""
        return LogNormalGuide.fits(support) or NormalGuide.fits(support)

    @classmethod
    def kl_to(cls, prior: Distribution) -> Literal["analytic", "sampled"] | None:
        """Return how the KL to a prior is found, in closed form where it needs the moments of a LogNormal or Normal only."""
        assert prior.support is not None  # noqa: S101  every prior has one
        chain = LogNormalChain if LogNormalGuide.fits(prior.support) else NormalChain
        one = torch.ones(1, dtype=torch.float64)
        return kind_of_kl(closed_kl(chain(one, one, one, periods=1), prior), cls.kl)

    def posterior(self, cell: Tensor) -> TorchDistribution:
        """Return q of some cells, each by itself, `(D,)`."""
        item, place = (cell // self.periods).unique(return_inverse=True)
        period = torch.arange(self.periods, device=cell.device)
        of_items = self.chain((item.unsqueeze(-1) * self.periods + period).reshape(-1)).marginals
        index = place * self.periods + cell % self.periods
        loc, scale = (part.index_select(0, index) for part in (of_items.loc, of_items.scale))
        return type(of_items)(loc, scale)

    def forward(self, batch: Batch) -> Tensor:
        """Run the program; return the draws of popularity, `(D,)`: the batch must hold all cells of its items."""
        with pyro.plate("cell", len(batch.cell)), poutine.scale(scale=batch.weight):
            popularity: Tensor = pyro.sample("popularity", self.chain(batch.cell))
        return popularity

    def chain(self, cell: Tensor) -> GaussianChain:
        """Return the chains of some items, all of whose cells are given item by item, `(D,)`."""
        loc, log_scale, coupling = gather(self.rows, cell).unbind(-1)
        return self._family(loc, log_scale.exp(), coupling, periods=self.periods)
