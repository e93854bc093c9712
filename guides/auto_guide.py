"""Pyro's autoguides: a Normal over log z, or over a real z, of all cells jointly.

They trace a program once to learn its shapes; here that is the site of popularity alone, over every cell, so that the
observed site and the affinity's are never seen and all parameters exist from the start. Their KL is sampled: the draw's
log density, less that of the prior.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Self, final

import pyro
import torch
from pyro.distributions import LogNormal, Normal, TorchDistribution
from pyro.infer.autoguide import AutoGuide, AutoLowRankMultivariateNormal, AutoNormal, init_to_value
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.data.batch import Batch
from pyro_popbias.distributions.random_state import borrowed_generators
from pyro_popbias.guides.lognormal import LogNormalGuide
from pyro_popbias.guides.normal import NormalGuide
from pyro_popbias.guides.popularity_guide import GUIDES, CellStatistics, PopularityGuide


class JointCellsGuide(PopularityGuide):
    """Base of guides that draw all cells jointly.

    Args:
        prior: `(C,)` prior of every cell, or a scalar batch shared by all.
        cells: C, the number of cells.
        seed: of the start.
    """

    required = ("auto", "size", "marginals")
    auto: ClassVar[Callable[..., AutoGuide]]
    kl = "sampled"
    draws_all_cells = True

    def __init__(self, prior: Distribution, cells: int, *, seed: int = 0) -> None:
        super().__init__()
        distributions = prior.expand((cells,))
        assert prior.support is not None  # noqa: S101  every prior has one
        self._on_log = LogNormalGuide.fits(prior.support)
        local = LogNormalGuide if self._on_log else NormalGuide
        with torch.no_grad():
            location, log_scale = local.start(prior).double().expand(cells, 2).unbind(-1)
        start = location.exp() if self._on_log else location.clone()

        def program(*_: Any) -> None:
            with pyro.plate("cell", cells):
                pyro.sample("popularity", distributions)

        scale = float(log_scale.exp().mean())
        with borrowed_generators():
            torch.manual_seed(seed)
            self._auto = type(self).auto(
                program, init_loc_fn=init_to_value(values={"popularity": start}), init_scale=scale
            )
            self._auto._setup_prototype()  # and not a call, after which no guide could hold it

    @classmethod
    def build(cls, prior: Distribution, cells: CellStatistics) -> Self:
        """Return the guide at its start."""
        return cls(prior, len(cells), seed=cells.seed)

    @classmethod
    def fits(cls, support: constraints.Constraint) -> bool:
        """Return whether the support is positive or the real line."""
        return LogNormalGuide.fits(support) or NormalGuide.fits(support)

    def marginals(self) -> tuple[Tensor, Tensor]:
        """Return location and scale of every cell's z, or log z where z is positive, `(C,)` each."""
        raise NotImplementedError

    def posterior(self, cell: Tensor) -> TorchDistribution:
        """Return the marginal q of some cells, `(D,)`."""
        location, scale = (part.index_select(0, cell) for part in self.marginals())
        return LogNormal(location, scale) if self._on_log else Normal(location, scale)

    def forward(self, batch: Batch) -> Tensor:
        """Run the program; return the draws of popularity, `(C,)`: the batch must hold every cell."""
        drawn: Tensor = self._auto()["popularity"]
        return drawn


@final
@GUIDES.register("auto-normal")
class AutoNormalGuide(JointCellsGuide):
    """q(z) = independent Normals of log z, or of a real z: Pyro's AutoNormal."""

    auto = AutoNormal

    @classmethod
    def size(cls, cells: int) -> int:
        """Return 2 C: a location and a scale per cell."""
        return 2 * cells

    def marginals(self) -> tuple[Tensor, Tensor]:
        """Return location and scale of every cell."""
        return self._auto.locs.popularity, self._auto.scales.popularity


@final
@GUIDES.register("auto-low-rank")
class AutoLowRankGuide(JointCellsGuide):
    """q(z) = one Normal of all log z, or of all real z, with covariance D + W W' of rank sqrt(C): Pyro's own."""

    auto = AutoLowRankMultivariateNormal

    @classmethod
    def size(cls, cells: int) -> int:
        """Return C (2 + sqrt C): a location, a scale and a row of W per cell."""
        return cells * (2 + round(math.sqrt(cells)))

    def marginals(self) -> tuple[Tensor, Tensor]:
        """Return location and scale of every cell."""
        location, scale = self._auto._loc_scale()
        return location, scale
