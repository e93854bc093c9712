"""Priors of popularity: what every prior is, and their registry.

The scale of z is not identified by itself, so every population distribution has a fixed one: E[z] = 1 on the positive
numbers, mean 0 and variance 1 on the real line.

A prior is shared by all cells, or a distribution for each cell (`item.py`). The concentration a of a shared one
is learned, with the prior log a ~ Normal(log 2, 1), or a given number.
"""

import math
from typing import Any, ClassVar, Self

import pyro
import torch
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule, PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.distributions.normal_density import log_normal
from pyro_popbias.errors import IncompatibleError
from pyro_popbias.models.priors.config import ConcentratedPriorConfig, PriorConfig
from pyro_popbias.registry import Registry, Variant

START_CONCENTRATION = 2.0
# of the mean of a distribution that stands for another one, over that one's mean: of a Gamma distribution with a shape
# far below 1 the logarithm has a long left tail, which a distribution with two tails would turn into a mean without
# bounds
LARGEST_MEAN = 2.0


class PopularityPrior(Variant, PyroModule):
    """Base of priors: a distribution of every cell, and the population distribution.

    Attributes:
        joins_periods: whether the cells of an item depend on each other, so that batches have all of an item's cells.
    """

    required: ClassVar[tuple[str, ...]] = ("distribution", "all_distributions", "population", "draw_from_prior")
    joins_periods: ClassVar[bool] = False

    def population(self) -> TorchDistribution:
        """Return the population distribution, a scalar batch: the distribution of the do-intervention."""
        raise NotImplementedError

    def distribution(self, cell: Tensor) -> TorchDistribution:
        """Return the prior of some cells, `(D,)`."""
        raise NotImplementedError

    def all_distributions(self) -> TorchDistribution:
        """Return the prior of every cell, `(C,)`, or a scalar batch shared by all."""
        raise NotImplementedError

    def starts(self) -> TorchDistribution:
        """Return the distributions of every cell by itself that a guide starts near, `(C,)` or a scalar batch."""
        return self.all_distributions()

    def forward(self, cell: Tensor) -> TorchDistribution:
        """Return the prior of some cells, `(D,)`, and add the log priors of its parameters to the trace."""
        for name, value in self.log_prior().items():
            pyro.factor(f"{name}_prior", value)
        return self.distribution(cell)

    def draw_from_prior(self) -> None:
        """Put draws of their priors in place of the parameters; torch's random state decides them."""
        raise NotImplementedError

    def log_prior(self) -> dict[str, Tensor]:
        """Return the log prior of the distribution's point-estimated parameters by name, scalars in nats."""
        return {}

    def estimates(self) -> dict[str, Tensor]:
        """Return the learned global parameters by name, scalars."""
        return {}


class SharedPrior(PopularityPrior):
    """Base of priors that are one population distribution for all cells.

    Attributes:
        family: the distribution of popularity, a class of `torch.distributions`.
        support: where z lives; it must lie inside the support of the model's latent.
        config: the section that holds its keys in a study.
    """

    required = ("family", "support", "from_config", "population", "draw_from_prior")
    config: ClassVar[type[PriorConfig]] = PriorConfig
    family: ClassVar[type[Distribution]]
    support: ClassVar[constraints.Constraint]

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """Return the prior that a section declares, of the class that `config` names; all keys may be at their defaults."""
        raise NotImplementedError

    def distribution(self, cell: Tensor) -> TorchDistribution:
        """Return the population distribution for each of some cells, `(D,)`."""
        return self.population().expand(cell.shape)

    def all_distributions(self) -> TorchDistribution:
        """Return the population distribution, a scalar batch."""
        return self.population()

    @classmethod
    def near(cls, distribution: Distribution) -> TorchDistribution:
        """Return the member of the family in place of a distribution of popularity, `(...)`: the same mean and variance of log z.

        For distributions of single items: a population distribution would lose its mean of 1. Without it, the sources
        that give each item a prior of its own are refused.

        Raises:
            IncompatibleError: the prior does not define it.
        """
        raise _without(cls, "near")

    @classmethod
    def with_moments(cls, mean: Tensor, variance: Tensor) -> TorchDistribution:
        """Return the member of the family with a mean and a variance of z, both `(...)`; as optional as `near`.

        Raises:
            IncompatibleError: the prior does not define it.
        """
        raise _without(cls, "with_moments")

    @classmethod
    def population_like(cls, distribution: Distribution) -> TorchDistribution:
        """Return the member of the family in place of a population distribution on the positive numbers."""
        return cls.with_moments(distribution.mean, distribution.variance)


class ConcentratedPrior(SharedPrior):
    """Base of priors with a concentration a.

    Args:
        concentration: a > 0; None learns it.
    """

    required = ("family", "support", "population", "near", "with_moments")
    config = ConcentratedPriorConfig
    log_concentration: Tensor

    def __init__(self, concentration: float | None = None) -> None:
        super().__init__()
        start = torch.tensor(math.log(concentration or START_CONCENTRATION), dtype=torch.float64)
        self.learned = concentration is None
        if self.learned:
            self.log_concentration = PyroParam(start, constraints.real)  # type: ignore[assignment]  # read back as a tensor
        else:
            self.register_buffer("log_concentration", start)

    @classmethod
    def from_config(cls, config: ConcentratedPriorConfig) -> Self:
        """Return the prior of a given or learned concentration; one that counts give has the start's until it is loaded."""
        return cls(START_CONCENTRATION if config.source == "population" else config.concentration)

    def draw_from_prior(self) -> None:
        """Draw the concentration, where it is learned."""
        if self.learned:
            self.log_concentration.normal_(math.log(START_CONCENTRATION), 1.0)

    def log_prior(self) -> dict[str, Tensor]:
        """Return the log prior of the concentration, where it is learned."""
        if not self.learned:
            return {}
        return {"concentration": log_normal(self.log_concentration - math.log(START_CONCENTRATION))}

    def estimates(self) -> dict[str, Tensor]:
        """Return the learned global parameters by name, scalars."""
        return {"concentration": self.log_concentration.exp()} if self.learned else {}


def _without(cls: type[SharedPrior], method: str) -> IncompatibleError:
    return IncompatibleError(
        f"PB-C302: {cls.__name__} defines no `{method}`, so items cannot have priors of their own; use source = 'learned', or "
        "define it on the class"
    )


PRIORS: Registry[SharedPrior] = Registry("prior", "pyro_popbias.priors", SharedPrior)
