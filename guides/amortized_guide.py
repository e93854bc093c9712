"""Amortised guides: a small network over what is known of a cell gives q, in place of a row per cell.

The number of parameters does not grow with the number of cells, and alike cells share what they have learned. A cell's
inputs are log(1 + positives), log(1 + rows), the mean affinity of its rows without gradient, its period and its item's
features; the network moves q from the row that is nearest to the prior.

| tensor | shape | meaning |
| --- | --- | --- |
| inputs | (C, F) | standardised counts, affinity and period |
| starts | (C, P) or (P,) | rows nearest to the prior |
| rows of q | (D, P) | starts + inputs @ direct + softsign(inputs @ into + features + bias) @ out |
"""

from typing import ClassVar, Literal, Self, final

import numpy as np
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import softsign

from pyro_popbias.guides.gamma import GammaGuide
from pyro_popbias.guides.lognormal import LogNormalGuide
from pyro_popbias.guides.normal import NormalGuide
from pyro_popbias.guides.popularity_guide import GUIDES, CellStatistics, PopularityGuide
from pyro_popbias.guides.row_guide import RowGuide

HIDDEN = 32
AFFINITY = 2  # position of the mean affinity among the inputs


class AmortizedGuide(PopularityGuide):
    """Base of amortised guides.

    Args:
        prior: `(C,)` prior of every cell, or a scalar batch shared by all.
        cells: what is known of them.

    Attributes:
        local: the guide with a row per cell whose rows the network makes.
    """

    required = ("family", "local")
    local: ClassVar[type[RowGuide]]
    inputs: Tensor
    starts: Tensor
    level: Tensor
    direct: Tensor
    into: Tensor
    bias: Tensor
    out: Tensor
    of_feature: Tensor

    def __init__(self, prior: Distribution, cells: CellStatistics) -> None:
        super().__init__()
        self._periods, self._features = cells.periods, cells.features
        inputs = _inputs(cells)
        generator = torch.Generator().manual_seed(cells.seed)
        width, columns = inputs.shape[1], len(self.local.columns)
        with torch.no_grad():
            self.register_buffer("starts", self.local.start(prior).double())
        self.register_buffer("inputs", inputs)
        into = torch.randn(width, HIDDEN, generator=generator, dtype=torch.float64) / width**0.5
        names = {"into": into, "bias": into.new_zeros(HIDDEN)}
        # the network begins at the start: neither of its ends moves anything
        names |= {"direct": into.new_zeros(width, columns), "out": into.new_zeros(HIDDEN, columns)}
        if cells.features is not None:
            names["of_feature"] = into.new_zeros(len(cells.features.names), HIDDEN)
            self.register_buffer("_index", torch.tensor(cells.features.index), persistent=False)
            self.register_buffer("_value", torch.tensor(cells.features.value).double(), persistent=False)
        for name, start in names.items():
            setattr(self, name, PyroParam(start, constraints.real))

    @classmethod
    def build(cls, prior: Distribution, cells: CellStatistics) -> Self:
        """Return the guide at its start."""
        return cls(prior, cells)

    @classmethod
    def fits(cls, support: constraints.Constraint) -> bool:
        """Return whether it is the support of the guide's family."""
        return cls.local.fits(support)

    @classmethod
    def kl_to(cls, prior: Distribution) -> Literal["analytic", "sampled"] | None:
        """Return how the KL to a prior is found: as of the guide whose rows it makes."""
        return cls.local.kl_to(prior)

    def set_mean_affinity(self, affinity: Tensor) -> None:
        """Take note of the mean affinity of each cell's rows, `(C,)` logits."""
        self.inputs[:, AFFINITY] = affinity

    def posterior(self, cell: Tensor) -> TorchDistribution:
        """Return q of some cells, `(D,)`."""
        inputs = self.inputs.index_select(0, cell)
        hidden = _spread(inputs, self.into) + self.bias
        if self._features is not None:
            hidden = hidden + self._of_features(cell // self._periods)
        starts = self.starts if self.starts.dim() == 1 else self.starts.index_select(0, cell)
        return self.local.from_rows(starts + _spread(inputs, self.direct) + _gathered(softsign(hidden), self.out))

    def _of_features(self, item: Tensor) -> Tensor:
        """Return what the features of items add to the hidden units, `(D, HIDDEN)`."""
        index, value = self._index.index_select(0, item), self._value.index_select(0, item)
        rows = self.of_feature.index_select(0, index.reshape(-1)).reshape(*index.shape, HIDDEN)
        return (value.unsqueeze(-1) * rows).sum(-2)


# A matrix product rounds by how many rows it has: a cell would have another q in another selection. These products are
# too thin for it to be missed.


def _spread(few: Tensor, weights: Tensor) -> Tensor:
    """Return `few @ weights`, `(D, many)`, for few columns."""
    first, *others = (column.unsqueeze(-1) * row for column, row in zip(few.unbind(-1), weights, strict=True))
    return sum(others, start=first)


def _gathered(many: Tensor, weights: Tensor) -> Tensor:
    """Return `many @ weights`, `(D, few)`, for few columns of weights."""
    return torch.stack([(many * column).sum(-1) for column in weights.unbind(-1)], dim=-1)


def _inputs(cells: CellStatistics) -> Tensor:
    """Return the inputs `(C, F)`; the mean affinity is 0 until it is set, and a single period is not an input."""
    counts = np.log1p(np.stack([cells.positives, cells.rows], axis=1).astype(float))
    spread = counts.std(0)
    columns = [(counts - counts.mean(0)) / np.where(spread > 0, spread, 1.0), np.zeros((len(cells), 1))]
    if cells.periods > 1:
        columns.append(np.tile(np.linspace(-1, 1, cells.periods), len(cells) // cells.periods)[:, None])
    return torch.from_numpy(np.concatenate(columns, axis=1))


@final
@GUIDES.register("amortized-gamma")
class AmortizedGammaGuide(AmortizedGuide):
    """q(z) = Gamma, its mean and concentration from a network."""

    family, local = dist.Gamma, GammaGuide


@final
@GUIDES.register("amortized-lognormal")
class AmortizedLogNormalGuide(AmortizedGuide):
    """q(z) = LogNormal, its location and scale from a network."""

    family, local = dist.LogNormal, LogNormalGuide


@final
@GUIDES.register("amortized-normal")
class AmortizedNormalGuide(AmortizedGuide):
    """q(z) = Normal, its location and scale from a network."""

    family, local = dist.Normal, NormalGuide
