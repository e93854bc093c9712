"""What every local guide is: a Pyro program over a batch, with one row of parameters per cell.

Rows are locations and logarithms: with a softplus of shape and rate the optimiser does not arrive. A row starts at the
member of its family that is nearest to the prior, in KL(q || prior).
"""

from typing import ClassVar, Literal

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule, PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.batching import Batch
from pyro_popbias.registry import Registry
from pyro_popbias.tables import gather
from pyro_popbias.variant import Variant


class PopularityGuide(Variant, PyroModule):
    """Base of guides.

    Args:
        prior: `(C,)` prior of every cell, or a scalar batch shared by all.
        cells: C, the number of cells.

    Attributes:
        family: the law of popularity, a class of `torch.distributions`.
        columns: names of the numbers in a row.
        support: where z lives; it must be the support of the prior.
        kl: "analytic", or "sampled" where the family has no closed KL to some prior.
        maximises: what training maximises, as the history names it: "elbo", or "log_joint" where q is no law.
    """

    required = ("family", "columns", "support", "start", "law")
    family: ClassVar[type[Distribution]]
    columns: ClassVar[tuple[str, ...]]
    support: ClassVar[constraints.Constraint]
    kl: ClassVar[Literal["analytic", "sampled"]] = "analytic"
    maximises: ClassVar[Literal["elbo", "log_joint"]] = "elbo"
    rows: Tensor

    def __init__(self, prior: Distribution, cells: int) -> None:
        super().__init__()
        with torch.no_grad():
            start = self.start(prior).double().expand(cells, len(self.columns)).clone()
        self.rows = PyroParam(start, constraints.real)  # type: ignore[assignment]  # read back as a tensor

    @classmethod
    def start(cls, prior: Distribution) -> Tensor:
        """Return the rows `(..., columns)` of the law nearest to the prior."""
        raise NotImplementedError

    @classmethod
    def law(cls, rows: Tensor) -> TorchDistribution:
        """Return the laws `(D,)` of rows `(D, columns)`."""
        raise NotImplementedError

    def posterior(self, cell: Tensor) -> TorchDistribution:
        """Return q of some cells, `(D,)`."""
        return self.law(gather(self.rows, cell))

    def forward(self, batch: Batch) -> Tensor:
        """Run the program; return the draws of popularity, `(D,)`."""
        with pyro.plate("cell", len(batch.cell)), poutine.scale(scale=batch.weight):
            popularity: Tensor = pyro.sample("popularity", self.posterior(batch.cell))
        return popularity


GUIDES: Registry[PopularityGuide] = Registry("guide", "pyro_popbias.guides", PopularityGuide)


def _is_positive(support: constraints.Constraint) -> bool:
    """Return whether a support is (0, inf) or [0, inf), which differ by nothing that has mass."""
    return isinstance(support, constraints.greater_than | constraints.greater_than_eq) and support.lower_bound == 0


def same_support(one: constraints.Constraint, other: constraints.Constraint) -> bool:
    """Return whether two supports are the same but for boundaries without mass."""
    if _is_positive(one) or _is_positive(other):
        return _is_positive(one) and _is_positive(other)
    return type(one) is type(other)


def lies_inside(inner: constraints.Constraint, outer: constraints.Constraint) -> bool:
    """Return whether a support is another one or a part of it; every support lies inside the real line."""
    return same_support(inner, outer) or type(outer) is type(constraints.real)
