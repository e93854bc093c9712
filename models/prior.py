"""Priors of popularity: what every prior is, and their registry.

The scale of z is not identified by itself, so every population law has a fixed one: E[z] = 1 on the positive numbers,
mean 0 and variance 1 on the real line.

`learned`: the concentration a, where the family has one, is a parameter with the prior log a ~ Normal(log 2, 1).
`fixed`: a is given.
"""

import math
from typing import ClassVar

import pyro
import torch
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule, PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.registry import Registry
from pyro_popbias.variant import Variant

START_CONCENTRATION = 2.0


class PopularityPrior(Variant, PyroModule):
    """Base of priors: one population law shared by all cells.

    Attributes:
        family: the law of popularity, a class of `torch.distributions`.
        support: where z lives; it must lie inside the support of the model's latent.
    """

    required = ("family", "support", "population")
    family: ClassVar[type[Distribution]]
    support: ClassVar[constraints.Constraint]

    def population(self) -> TorchDistribution:
        """Return the population law, a scalar batch: the law of the do-intervention."""
        raise NotImplementedError

    def law(self, cell: Tensor) -> TorchDistribution:
        """Return the prior of some cells, `(D,)`."""
        return self.population().expand(cell.shape)

    def forward(self, cell: Tensor) -> TorchDistribution:
        """Return the prior of some cells, `(D,)`, and add the log priors of its parameters to the trace."""
        for name, value in self.log_prior().items():
            pyro.factor(f"{name}_prior", value)
        return self.law(cell)

    def log_prior(self) -> dict[str, Tensor]:
        """Return the log prior of the law's point-estimated parameters by name, scalars in nats."""
        return {}

    def estimates(self) -> dict[str, Tensor]:
        """Return the learned global parameters by name, scalars."""
        return {}


class ConcentratedPrior(PopularityPrior):
    """Base of priors with a concentration a.

    Args:
        concentration: a > 0; None learns it.
    """

    required = ("family", "support", "population")
    log_concentration: Tensor

    def __init__(self, concentration: float | None = None) -> None:
        super().__init__()
        start = torch.tensor(math.log(concentration or START_CONCENTRATION), dtype=torch.float64)
        self.learned = concentration is None
        if self.learned:
            self.log_concentration = PyroParam(start, constraints.real)  # type: ignore[assignment]  # read back as a tensor
        else:
            self.register_buffer("log_concentration", start)

    def log_prior(self) -> dict[str, Tensor]:
        """Return the log prior of the concentration, where it is learned."""
        if not self.learned:
            return {}
        distance = self.log_concentration - math.log(START_CONCENTRATION)
        return {"concentration": -0.5 * distance.square() - 0.5 * math.log(2 * math.pi)}

    def estimates(self) -> dict[str, Tensor]:
        """Return the learned global parameters by name, scalars."""
        return {"concentration": self.log_concentration.exp()} if self.learned else {}


PRIORS: Registry[PopularityPrior] = Registry("prior", "pyro_popbias.priors", PopularityPrior)
