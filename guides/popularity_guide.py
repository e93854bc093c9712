"""What every guide of popularity is: a Pyro program over a batch that draws the site `popularity`.

A local guide has a distribution for each cell of the batch; a joint guide draws all cells at once, and its batches
carry them all.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.data.batch import Batch
from pyro_popbias.data.features import Features
from pyro_popbias.distributions.compatibility import kind_of_kl
from pyro_popbias.registry import Registry, Variant


@dataclass(frozen=True, eq=False)
class CellStatistics:
    """What a guide may know of the C = K T cells when it is made.

    Attributes:
        rows: `(C,)` training rows of each cell, sampled negatives included by their expected number.
        positives: `(C,)` those with label 1.
        periods: T.
        features: of the K items; None without.
        seed: of the start of a network.
    """

    rows: np.ndarray
    positives: np.ndarray
    periods: int = 1
    features: Features | None = None
    seed: int = 0

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Bounds:
    """What KL(q || exact posterior) a trained guide must reach over cells with enough rows, in nats.

    Attributes:
        mean: bound of the mean.
        high: bound of the 99th percentile.
    """

    mean: float
    high: float


class PopularityGuide(Variant, PyroModule):
    """Base of guides.

    Attributes:
        family: the distribution of popularity, a class of `torch.distributions`; None where it depends on the prior.
        kl: "analytic", or "sampled" where the family has no closed KL to some prior.
        maximises: what training maximises, as the history names it: "elbo", or "log_joint" where q is a point.
        draws_all_cells: whether all cells are drawn together, at every step.
        joins_periods: whether q joins the cells of an item, so that batches have all of them.
        bounds: how near q comes to the exact posterior; None where the family promises nothing.
    """

    required: ClassVar[tuple[str, ...]] = ("fits", "build", "posterior")
    family: ClassVar[type[Distribution] | None] = None
    kl: ClassVar[Literal["analytic", "sampled"]] = "analytic"
    maximises: ClassVar[Literal["elbo", "log_joint"]] = "elbo"
    draws_all_cells: ClassVar[bool] = False
    joins_periods: ClassVar[bool] = False
    bounds: ClassVar[Bounds | None] = None

    @classmethod
    def fits(cls, support: constraints.Constraint) -> bool:
        """Return whether a popularity with this support can have such a q."""
        raise NotImplementedError

    @classmethod
    def build(cls, prior: Distribution, cells: CellStatistics) -> Self:
        """Return the guide at its start.

        Args:
            prior: `(C,)` prior of every cell, or a scalar batch shared by all.
            cells: what is known of them.
        """
        raise NotImplementedError

    @classmethod
    def kl_to(cls, prior: Distribution) -> Literal["analytic", "sampled"] | None:
        """Return how the KL to a prior is found; None where there is no closed form and the guide declares no other way."""
        return kind_of_kl(None, cls.kl)

    @classmethod
    def size(cls, cells: int) -> int:
        """Return how many parameters a guide that draws all cells has."""
        raise NotImplementedError

    def posterior(self, cell: Tensor) -> TorchDistribution:
        """Return q of some cells, `(D,)`."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        """Run the program; return the draws of popularity, `(D,)`."""
        with pyro.plate("cell", len(batch.cell)), poutine.scale(scale=batch.weight):
            popularity: Tensor = pyro.sample("popularity", self.posterior(batch.cell))
        return popularity

    @torch.no_grad()
    def set_mean_affinity(self, affinity: Tensor) -> None:
        """Take note of the mean affinity of each cell's rows, `(C,)` logits; most guides have no use for it."""

    @property
    def uses_affinity(self) -> bool:
        """Whether `set_mean_affinity` changes anything."""
        return type(self).set_mean_affinity is not PopularityGuide.set_mean_affinity


GUIDES: Registry[PopularityGuide] = Registry("guide", "pyro_popbias.guides", PopularityGuide)
