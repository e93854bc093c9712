"""The vectors of a pair as numbers: means and variances of every row, and the scale of each dimension's prior."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.data.batches import Batch
from pyro_popbias.guides import AffinityGuide
from pyro_popbias.models import BayesianEmbeddingAffinity

ROWS_AT_ONCE = 65_536  # of the interactions, in passes over all of them


@dataclass(frozen=True)
class Table:
    """The rows of users or of items: means and variances, `(rows, d)` in float64."""

    mean: Tensor
    variance: Tensor

    def of(self, code: Tensor) -> "Table":
        """Return some rows."""
        return Table(self.mean.index_select(0, code), self.variance.index_select(0, code))

    def kept(self, dimension: Tensor) -> "Table":
        """Return some dimensions, given by number or as truth values."""
        return Table(self.mean[:, dimension], self.variance[:, dimension])

    def scaled(self, factor: Tensor) -> "Table":
        """Return the rows times a factor of each dimension."""
        return Table(self.mean * factor, self.variance * factor.square())


@dataclass(frozen=True)
class Vectors:
    """Both tables, and the standard deviation of the prior in each dimension, `(d,)`."""

    user: Table
    item: Table
    scale: Tensor

    @classmethod
    def of(cls, pair: Pair) -> "Vectors":
        """Return the vectors of a pair."""
        weights = pair.guide.weights()
        user, item = (
            Table(weights[site].loc.detach().double(), weights[site].scale.detach().double().square())
            for site in ("user_vectors", "item_vectors")
        )
        return cls(user, item, affinity_of(pair).vector_log_scale.detach().exp())

    def kept(self, dimension: Tensor) -> "Vectors":
        """Return some dimensions, given by number or as truth values."""
        return Vectors(self.user.kept(dimension), self.item.kept(dimension), self.scale[dimension])

    @torch.no_grad()
    def write(self, pair: Pair) -> None:
        """Give these vectors to a pair; where their number of dimensions is another, its parameters are other tensors."""
        affinity, guide = affinity_of(pair), pair.guide.affinity
        assert isinstance(guide, AffinityGuide)  # noqa: S101  Bayesian vectors have a guide
        for site, table in (("user_vectors", self.user), ("item_vectors", self.item)):
            guide.set_rows(site, table.mean, 0.5 * table.variance.log())
        affinity.set_log_scale(self.scale.log())

    def products(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return mean and variance of u_k i_k of each interaction and dimension, `(B, d)` each."""
        u, i = self.user.of(batch.user), self.item.of(batch.item)
        variance = u.mean.square() * i.variance + i.mean.square() * u.variance + u.variance * i.variance
        return u.mean * i.mean, variance


def affinity_of(pair: Pair) -> BayesianEmbeddingAffinity:
    """Return the affinity of a pair of Bayesian vectors."""
    assert isinstance(pair.model.affinity, BayesianEmbeddingAffinity)  # noqa: S101  the caller has looked
    return pair.model.affinity


@dataclass(frozen=True)
class Affinities:
    """Mean and standard deviation of x of the rows of a batch, and the mean of their popularity, `(B,)` each."""

    batch: Batch
    mean: Tensor
    sd: Tensor
    popularity: Tensor


def affinities(pair: Pair, rows: int | None = None) -> Iterator[Affinities]:
    """Yield the affinities and popularities of all training rows, or of about as many as are asked for, in blocks."""
    weights, done = pair.guide.weights(), 0
    for batch in pair.rows.blocks(ROWS_AT_ONCE if rows is None else min(rows, ROWS_AT_ONCE)):
        distribution = pair.model.affinity.pairs(batch.user, batch.item, batch.score, weights)
        variance = torch.zeros_like(distribution.mean) if distribution.variance is None else distribution.variance
        popularity = pair.guide.popularity.posterior(batch.cell).mean.index_select(0, batch.cell_index)
        yield Affinities(batch, distribution.mean, variance.sqrt(), popularity)
        done += len(batch.user)
        if rows is not None and done >= rows:
            return
