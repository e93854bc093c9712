"""A prior with a distribution of its own for each cell."""

from collections.abc import Callable
from typing import Self, final

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_popbias.models.priors.prior import PopularityPrior, SharedPrior

POPULATION = "population_"  # before the names of the population distribution's parameters


@final
class ItemPrior(PopularityPrior):
    """z_j ~ a given distribution for each cell j; nothing is learned.

    The distributions are buffers under the names of their family's parameters, `rate` and so on, so that they are saved
    with the model and go where it goes.

    Args:
        distributions: `(C,)` distribution of each cell.
        population: the population distribution, a scalar batch of the same family.
    """

    def __init__(self, distributions: TorchDistribution, population: TorchDistribution) -> None:
        super().__init__()
        self._family: Callable[..., TorchDistribution] = type(distributions)
        self._names = tuple(distributions.arg_constraints)
        for prefix, distribution in (("", distributions), (POPULATION, population)):
            for name in self._names:
                value: Tensor = getattr(distribution, name)
                self.register_buffer(
                    prefix + name, value.detach().double().clone(memory_format=torch.contiguous_format)
                )

    @classmethod
    def mixed(cls, prior: type[SharedPrior], distributions: TorchDistribution) -> Self:
        """Return the prior whose population distribution has the mean and variance of a cell drawn at random.

        Args:
            prior: whose family it is.
            distributions: `(C,)` distribution of each cell, of that family.
        """
        # the law of total variance
        variance = distributions.variance.mean() + distributions.mean.var(correction=0)
        return cls(distributions, prior.with_moments(distributions.mean.mean(), variance))

    @classmethod
    def unset(cls, prior: type[SharedPrior], cells: int) -> Self:
        """Return a prior of the right shapes, to load another one's state into.

        Args:
            prior: whose family it is.
            cells: C, the number of cells.
        """
        one = torch.ones((), dtype=torch.float64)
        distribution = prior.with_moments(one, one)
        return cls(distribution.expand((cells,)), distribution)

    def draw_from_prior(self) -> None:
        """Draw nothing: the distributions are given."""

    def distribution(self, cell: Tensor) -> TorchDistribution:
        """Return the prior of some cells, `(D,)`."""
        return self._family(**{name: self.get_buffer(name).index_select(0, cell) for name in self._names})

    def all_distributions(self) -> TorchDistribution:
        """Return the prior of every cell, `(C,)`."""
        return self._family(**{name: self.get_buffer(name) for name in self._names})

    def population(self) -> TorchDistribution:
        """Return the population distribution, a scalar batch."""
        return self._family(**{name: self.get_buffer(POPULATION + name) for name in self._names})
