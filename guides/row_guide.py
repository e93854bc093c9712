"""Guides with one row of parameters per cell.

Rows are locations and logarithms: with a softplus of shape and rate the optimiser does not arrive. A row starts at the
member of its family that is nearest to the prior, in KL(q || prior).
"""

from typing import ClassVar, Literal, Self

import torch
from pyro.distributions import TorchDistribution
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.distributions.compatibility import closed_kl, kind_of_kl
from pyro_popbias.distributions.supports import same_support
from pyro_popbias.guides.popularity_guide import CellStatistics, PopularityGuide
from pyro_popbias.sparse_lookup import gather


class RowGuide(PopularityGuide):
    """Base of guides with one row per cell.

    Args:
        prior: `(C,)` prior of every cell, or a scalar batch shared by all.
        cells: C, the number of cells.

    Attributes:
        columns: names of the numbers in a row.
        support: where z lives; it must be the support of the prior.
    """

    required = ("family", "columns", "support", "start", "from_rows")
    family: ClassVar[type[Distribution]]
    columns: ClassVar[tuple[str, ...]]
    support: ClassVar[constraints.Constraint]
    rows: Tensor

    def __init__(self, prior: Distribution, cells: int) -> None:
        super().__init__()
        self.rows = PyroParam(start_rows(type(self), prior, cells), constraints.real)  # type: ignore[assignment]  # read back as a tensor

    @classmethod
    def build(cls, prior: Distribution, cells: CellStatistics) -> Self:
        """Return the guide at its start."""
        return cls(prior, len(cells))

    @classmethod
    def fits(cls, support: constraints.Constraint) -> bool:
        """Return whether it is the guide's own support."""
        return same_support(cls.support, support)

    @classmethod
    def kl_to(cls, prior: Distribution) -> Literal["analytic", "sampled"] | None:
        """Return how the KL to a prior is found, in closed form where the family has one."""
        q = cls.from_rows(torch.zeros(1, len(cls.columns), dtype=torch.float64))
        return kind_of_kl(closed_kl(q, prior), cls.kl)

    @classmethod
    def start(cls, prior: Distribution) -> Tensor:
        """Return the rows `(..., columns)` of the distribution nearest to the prior."""
        raise NotImplementedError

    @classmethod
    def from_rows(cls, rows: Tensor) -> TorchDistribution:
        """Return the distributions `(D,)` of rows `(D, columns)`."""
        raise NotImplementedError

    def posterior(self, cell: Tensor) -> TorchDistribution:
        """Return q of some cells, `(D,)`."""
        return self.from_rows(gather(self.rows, cell))


def start_rows(guide: type[RowGuide], prior: Distribution, cells: int) -> Tensor:
    """Return the starts of all cells, `(C, columns)` in float64."""
    with torch.no_grad():
        return guide.start(prior).double().expand(cells, len(guide.columns)).clone()
