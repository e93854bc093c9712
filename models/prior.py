"""Priors of popularity. The scale of z is not identified by itself, so every population law has E[z] = 1.

`learned`: the concentration a is a parameter with the prior log a ~ Normal(log 2, 1). `fixed`: a is given.
"""

import math
from typing import ClassVar, final

import pyro
import torch
from pyro.distributions import Gamma, TorchDistribution
from pyro.nn import PyroModule, PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.variant import Variant

START_CONCENTRATION = 2.0


class PopularityPrior(Variant, PyroModule):
    """Base of priors: one population law shared by all cells."""

    required = ("family", "population")
    family: ClassVar[type[Distribution]]
    log_concentration: Tensor

    def __init__(self, concentration: float | None = None) -> None:
        super().__init__()
        start = torch.tensor(math.log(concentration or START_CONCENTRATION), dtype=torch.float64)
        self.learned = concentration is None
        if self.learned:
            self.log_concentration = PyroParam(start, constraints.real)  # type: ignore[assignment]  # read back as a tensor
        else:
            self.register_buffer("log_concentration", start)

    def population(self) -> TorchDistribution:
        """Return the population law, a scalar batch: the law of the do-intervention."""
        raise NotImplementedError

    def law(self, cell: Tensor) -> TorchDistribution:
        """Return the prior of some cells, `(D,)`."""
        return self.population().expand(cell.shape)

    def forward(self, cell: Tensor) -> TorchDistribution:
        """Return the prior of some cells, `(D,)`, and add the log prior of its parameter to the trace."""
        if self.learned:
            distance = self.log_concentration - math.log(START_CONCENTRATION)
            pyro.factor("concentration_prior", -0.5 * distance.square() - 0.5 * math.log(2 * math.pi))
        return self.law(cell)

    def estimates(self) -> dict[str, Tensor]:
        """Return the learned global parameters by name, scalars."""
        return {"concentration": self.log_concentration.exp()} if self.learned else {}


@final
class GammaPrior(PopularityPrior):
    """z ~ Gamma(a, a): E[z] = 1, Var z = 1/a.

    Args:
        concentration: a > 0; None learns it.
    """

    family = Gamma

    def population(self) -> Gamma:
        """Return Gamma(a, a)."""
        concentration = self.log_concentration.exp()
        return Gamma(concentration, concentration)
