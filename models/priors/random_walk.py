"""A prior that moves in time: log z, or a real z, goes from period to period by Normal steps."""

import math
from typing import final

import pyro
import torch
from pyro.distributions import LogNormal, Normal, TorchDistribution
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.distributions.chains import GaussianChain, LogNormalChain, NormalChain, moments_of_y
from pyro_popbias.distributions.normal_density import log_normal
from pyro_popbias.models.priors.prior import PopularityPrior, SharedPrior

START_STEP = 0.25


@final
class RandomWalkPrior(PopularityPrior):
    """y_1 has the population distribution, y_t | y_{t-1} ~ Normal(y_{t-1}, step); y = log z, or y = z where z is real.

    So z is LogNormal in every period, with E[z] = 1 in the first one, or Normal. The step is a point estimate with the prior
    log step ~ Normal(log 0.25, 1). The population distribution stays that of the first period, whose scale is fixed.

    Args:
        first: distribution of the first period, LogNormal or Normal.
        cells: C, the number of cells.
        periods: T.
    """

    joins_periods = True
    log_step: Tensor

    def __init__(self, first: SharedPrior, cells: int, periods: int) -> None:
        super().__init__()
        self.first, self.cells, self.periods = first, cells, periods
        start = torch.tensor(math.log(START_STEP), dtype=torch.float64)
        self.log_step = PyroParam(start, constraints.real)  # type: ignore[assignment]  # read back as a tensor

    @property
    def step(self) -> Tensor:
        """Standard deviation of a step of log z, or of a real z, a scalar."""
        return self.log_step.exp()

    def population(self) -> TorchDistribution:
        """Return the distribution of the first period, a scalar batch."""
        return self.first.population()

    def forward(self, cell: Tensor) -> TorchDistribution:
        """Return the walks of the items of a batch, `(D,)`, and add the log priors of the parameters to the trace.

        Args:
            cell: `(D,)` all cells of some items, item by item.
        """
        for name, value in self.log_prior().items():
            pyro.factor(f"{name}_prior", value)
        return self.chain(cell)

    def chain(self, cell: Tensor) -> GaussianChain:
        """Return the walks of some items, all of whose cells are given item by item, `(D,)`."""
        loc, scale = self._first()
        of_cell = torch.where(cell % self.periods == 0, scale, self.step)
        chain = NormalChain if self._is_real else LogNormalChain
        return chain(loc.expand(cell.shape), of_cell, torch.ones_like(of_cell), periods=self.periods)

    def distribution(self, cell: Tensor) -> TorchDistribution:
        """Return the prior of some cells, each by itself, `(D,)`: the wider the later the period is."""
        loc, scale = self._first()
        return self._of_y(loc.expand(cell.shape), scale.square() + cell % self.periods * self.step.square())

    def all_distributions(self) -> TorchDistribution:
        """Return the prior of every cell, each by itself, `(C,)`."""
        return self.distribution(torch.arange(self.cells, device=self.log_step.device))

    def starts(self) -> TorchDistribution:
        """Return the independent distributions of all cells that are nearest to the walk, in KL(q || walk), `(C,)`.

        The variance of each is that of its period where the periods beside it are known.
        """
        loc, scale = self._first()
        period = torch.arange(self.cells, device=loc.device) % self.periods
        back = torch.where(period == 0, scale**-2, self.step**-2)
        return self._of_y(loc.expand(self.cells), 1 / (back + (period < self.periods - 1) * self.step**-2))

    def after(self, q: Distribution, periods: int) -> TorchDistribution:
        """Return what the walk says of popularity some periods after one in which it has q, `(...)`.

        Args:
            q: `(...)` distributions.
            periods: how many later, at least 1.
        """
        mean, variance = moments_of_y(q)
        return self._of_y(mean, variance + periods * self.step.square())

    def draw_from_prior(self) -> None:
        """Draw the step, and what is learned of the first period."""
        self.first.draw_from_prior()
        self.log_step.normal_(math.log(START_STEP), 1.0)

    def log_prior(self) -> dict[str, Tensor]:
        """Return the log prior of the step, and of the first period's parameters, scalars in nats."""
        return {**self.first.log_prior(), "drift_step": log_normal(self.log_step - math.log(START_STEP))}

    def estimates(self) -> dict[str, Tensor]:
        """Return the learned global parameters by name, scalars."""
        return {**self.first.estimates(), "drift_step": self.step}

    @property
    def _is_real(self) -> bool:
        return self.first.support is constraints.real

    def _first(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of y in the first period, scalars."""
        first = self.first.population()
        return first.loc, first.scale

    def _of_y(self, mean: Tensor, variance: Tensor) -> TorchDistribution:
        family = Normal if self._is_real else LogNormal
        return family(mean, variance.sqrt())
