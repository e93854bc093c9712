"""Vectors, user biases and item qualities of a pair as numbers: means and variances of all rows, and their priors' scales."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.data.batch import Batch
from pyro_popbias.data.batches import TrainingBatches
from pyro_popbias.guides import AffinityGuide
from pyro_popbias.models import BayesianEmbeddingAffinity
from pyro_popbias.models.affinities.item_quality import FEATURES
from pyro_popbias.sparse_lookup import set_parameter

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
    """Both tables, the biases of users and the qualities of items, with the standard deviations of their priors.

    Attributes:
        user: `(users, d)`.
        item: `(items, d)`.
        scale: `(d,)` of each dimension.
        biases: `(users, 1)` and `(items, 1)`, those that there are, by their site.
        bias_scales: `(1,)` each.
        bias_means: `(items, 1)`, what the features of items let one expect, by the site of qualities; biases without are
            expected to be 0.
        bias_variances: `(users, 1)` and `(items, 1)`, the marginal variances of biases where they are known to be above those
            of q, by their site.
    """

    user: Table
    item: Table
    scale: Tensor
    biases: Mapping[str, Table]
    bias_scales: Mapping[str, Tensor]
    bias_means: Mapping[str, Tensor] = field(default_factory=dict)
    bias_variances: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, pair: Pair) -> "Vectors":
        """Return the vectors of a pair."""
        affinity = affinity_of(pair)
        tables = {
            site: Table(q.loc.detach().double(), q.scale.detach().double().square())
            for site, q in pair.guide.weights().items()
        }
        scale = affinity.vector_log_scale.detach().exp()
        biases = {site: tables[site] for site in affinity.row_biases}
        scales = {site: affinity.log_scale(site).detach().exp().reshape(1) for site in biases}
        weights, quality = pair.guide.weights(), affinity.item_quality
        means = {} if quality is None else {quality.site: quality.prior_moments(weights[FEATURES])[0].detach()}
        return cls(tables["user_vectors"], tables["item_vectors"], scale, biases, scales, means)

    def kept(self, dimension: Tensor) -> "Vectors":
        """Return some dimensions, given by number or as truth values."""
        return replace(
            self, user=self.user.kept(dimension), item=self.item.kept(dimension), scale=self.scale[dimension]
        )

    @torch.no_grad()
    def write(self, pair: Pair) -> None:
        """Give these vectors to a pair; where their number of dimensions is another, its parameters are other tensors."""
        affinity, guide = affinity_of(pair), pair.guide.affinity
        assert isinstance(guide, AffinityGuide)  # noqa: S101  Bayesian vectors have a guide
        for site, table in {"user_vectors": self.user, "item_vectors": self.item, **self.biases}.items():
            guide.set_rows(site, table.mean, 0.5 * table.variance.log())
        affinity.set_log_scale(self.scale.log())
        for site, bias in affinity.row_biases.items():
            set_parameter(bias, "log_scale", self.bias_scales[site].log().squeeze())

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
    """Mean and standard deviation of x of the rows of a batch, and the mean of their popularity, `(B,)` each.

    Where users differ in conformity x has d_u t(z) in it, at that mean, and the batch knows the means of d_u.
    """

    batch: Batch
    mean: Tensor
    sd: Tensor
    popularity: Tensor


def affinities(pair: Pair, rows: int | None = None, of: TrainingBatches | None = None) -> Iterator[Affinities]:
    """Yield affinities and popularities in blocks.

    Args:
        pair: the pair.
        rows: about how many rows; None for all.
        of: which rows; the training rows by default.
    """
    weights, done = pair.guide.weights(), 0
    for batch in (of or pair.rows).blocks(ROWS_AT_ONCE if rows is None else min(rows, ROWS_AT_ONCE)):
        distribution = pair.model.pairs(batch.user, batch.item, batch.score, weights)
        popularity = pair.guide.popularity.posterior(batch.cell).mean.index_select(0, batch.cell_index)
        if distribution.conformity is not None:
            batch = replace(batch, conformity=distribution.conformity.mean)
            distribution = distribution.given(pair.model.logit_term(popularity))
        variance = torch.zeros_like(distribution.mean) if distribution.variance is None else distribution.variance
        mean = distribution.mean if batch.offset is None else distribution.mean + batch.offset
        yield Affinities(batch, mean, variance.sqrt(), popularity)
        done += len(batch.user)
        if rows is not None and done >= rows:
            return
