"""Affinities x_ui: the logit of a user's interest in an item, without popularity.

Every affinity has an intercept b0 with the prior Normal(0, 5), and may have a bias w_u of each user and a quality b_i of
each item. The second only where something besides the labels says how popular items are: else b_i and z_i would be one
number. Point estimates enter the program by their log prior, as
factors: a row of a table once per user or item, by the same weights as the KL of a cell. Bayesian weights are latent
sites; the guide of the affinity holds their distributions, and hands them back where x_ui is asked for outside of the
program.
"""

from contextlib import nullcontext
from typing import Any, ClassVar, Literal

import pyro
import torch
from pyro.nn import PyroModule, PyroParam
from torch import Tensor
from torch.distributions import Normal, constraints

from pyro_popbias.data.batch import Batch
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.features import Features
from pyro_popbias.distributions.normal_density import log_normal
from pyro_popbias.models.affinities.distribution import AffinityDistribution
from pyro_popbias.models.affinities.item_quality import FEATURES, WEIGHT_SCALE, ItemQuality
from pyro_popbias.models.affinities.latents import AffinityLatent, Weights, centred
from pyro_popbias.models.affinities.memory import Memory
from pyro_popbias.models.affinities.row_bias import RowBias
from pyro_popbias.models.affinities.user_bias import UserBias
from pyro_popbias.registry import Registry, Variant
from pyro_popbias.validation import PartConfig

INTERCEPT_SCALE = 5.0


class AffinityConfig(PartConfig):
    """Base of the sections of affinities; an affinity without keys of its own needs no other."""

    @property
    def learns_scales(self) -> bool:
        """Whether scales of vectors are learned, so that phase one runs all its epochs."""
        return False


class Affinity(Variant, PyroModule):
    """Base of affinities.

    Args:
        users: number of users, each of whom has a bias; None for an affinity without them.
        quality: the quality of items; None for an affinity without.

    Attributes:
        config: the section that holds its keys in a study.
        trains_in_phase_two: whether its parameters go on training when q of popularity settles.
        ranks_by_mean: whether the variance of x_ui is the same for all items of a user where items have no quality, so
            that scores under one popularity rank items as the mean does.
        is_bayesian: whether all that is learned of a user and an item has a posterior, so that scores have intervals.
        memory: what an earlier fit has learned, where it is the prior of this one's training; None elsewhere.
    """

    required: ClassVar[tuple[str, ...]] = ("from_config", "forward", "relative", "table", "draw_from_prior")
    config: ClassVar[type[AffinityConfig]] = AffinityConfig
    trains_in_phase_two: ClassVar[bool] = False
    ranks_by_mean: ClassVar[bool] = False
    is_bayesian: ClassVar[bool] = True
    intercept: Tensor

    def __init__(self, users: int | None = None, quality: ItemQuality | None = None) -> None:
        super().__init__()
        self.user_bias = None if users is None else UserBias(users)
        self.item_quality = quality
        self.memory: Memory | None = None
        self.intercept = PyroParam(torch.zeros((), dtype=torch.float64), constraints.real)  # type: ignore[assignment]  # read back as a tensor

    @classmethod
    def vectors(cls, users: int, items: int, features: int) -> int:
        """Return how many vectors are learned of some users, items and columns of features."""
        return 0

    @classmethod
    def from_config(cls, config: Any, catalogue: Catalogue, generator: torch.Generator) -> "Affinity":
        """Return the affinity that a section declares, at its start.

        Args:
            config: the study's, of the class that `config` names.
            catalogue: ids of the users and items, and their features.
            generator: randomness of the start.

        Raises:
            DataError: the data lack what the affinity needs.
        """
        raise NotImplementedError

    def draw_from_prior(self) -> None:
        """Put draws of their priors in place of the parameters, but for the intercept; torch's random state decides them."""
        for bias in self.row_biases.values():
            bias.draw_from_prior()

    @property
    def row_biases(self) -> dict[str, RowBias]:
        """The bias of users and the quality of items, those that there are, by their site."""
        return {bias.site: bias for bias in (self.user_bias, self.item_quality) if bias is not None}

    def prior_weights(self, weights: Weights) -> Weights:
        """Return the prior of each site, in the shapes of its q: Normal around 0, by the present scales.

        That of qualities has the prior of their features' weights in it.

        Args:
            weights: q of each site, whole tables.
        """
        found = dict(centred(weights, self.log_scale))
        if self.item_quality is not None:
            site = self.item_quality.site
            _, variance = self.item_quality.prior_moments(found[FEATURES])
            found[site] = Normal(found[site].loc, variance.sqrt().to(found[site].loc), validate_args=False)
        return found

    def before_labels(self, site: str, weights: Weights) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations that rows of a site have before their labels, to broadcast with the rows.

        Args:
            site: name of a table of users or items.
            weights: q of each site, whole tables.
        """
        if self.item_quality is not None and site == self.item_quality.site:
            mean, variance = self.item_quality.prior_moments(weights[FEATURES])
            return mean, variance.sqrt()
        scale = self.log_scale(site).exp()
        return torch.zeros_like(scale), scale

    def latents(self, generator: torch.Generator) -> dict[str, AffinityLatent]:
        """Return the sites that a guide must draw, by name, with their starts drawn from a generator."""
        return {site: latent for bias in self.row_biases.values() for site, latent in bias.latents().items()}

    def log_scale(self, site: str) -> Tensor:
        """Return log s of the prior Normal(0, s) of a site: a scalar, or `(dim,)` one for each column of its rows."""
        if site in self.row_biases:
            return self.row_biases[site].log_scale
        if site == FEATURES:
            return torch.tensor(WEIGHT_SCALE, dtype=torch.float64).log()
        return torch.tensor(self.latents(torch.Generator())[site].scale, dtype=torch.float64).log()

    def forward(self, batch: Batch) -> Tensor:
        """Return x_ui of each interaction, `(B,)` logits in float64, and add the log priors to the trace."""
        raise NotImplementedError

    def drawn(self, batch: Batch) -> Tensor:
        """Return what `forward` does, with the priors of the affinity's memory in place of its own where it has one."""
        with nullcontext() if self.memory is None else self.memory.at(batch):
            drawn: Tensor = self(batch)
        return drawn

    def pairs(self, user: Tensor, item: Tensor, score: Tensor | None, weights: Weights) -> AffinityDistribution:
        """Return x_ui of pairs of codes, `(B,)`; a code of -1 is an unseen id, at its prior mean."""
        distribution = self.relative(user, item, score, weights)
        return AffinityDistribution(distribution.mean + self.intercept, distribution.variance)

    def global_regressors(self, user: Tensor, item: Tensor) -> dict[str, Tensor] | None:
        """Return what x_ui of pairs of codes moves by with the weights of each global site, `(B, n)` each.

        None where x depends on numbers of users or items that are learned as points, so that nobody knows their spread.
        """
        return None

    def relative(self, user: Tensor, item: Tensor, score: Tensor | None, weights: Weights) -> AffinityDistribution:
        """Return x_ui - b0 of pairs of codes, `(B,)`; `with_biases` adds biases and qualities to the rest."""
        raise NotImplementedError

    def table(self, user: Tensor, weights: Weights) -> AffinityDistribution:
        """Return x_ui of some users with all items, `(U, K)`."""
        raise NotImplementedError

    def order(self, user: Tensor, weights: Weights) -> Tensor:
        """Return numbers in the order of each user's means of x_ui, and as far apart, `(U, K)` to be changed freely."""
        return self.table(user, weights).mean.clone()

    def item_means(self, weights: Weights) -> Tensor | None:
        """Return the mean vector of each item, `(K, d)`, whose product with a user's is in x_ui; None for none."""
        return None

    def user_means(self, user: Tensor, weights: Weights) -> Tensor | None:
        """Return the mean vectors of some users, `(U, d)`, that go with `item_means`; None for none."""
        return None

    def among(self, user: Tensor, item: Tensor, weights: Weights) -> AffinityDistribution:
        """Return x_ui of users with some items of each, `(U, M)`.

        Args:
            user: `(U,)` codes.
            item: `(U, M)` codes.
            weights: q of each site, whole tables.
        """
        found = self.pairs(user.repeat_interleave(item.shape[1]), item.reshape(-1), None, weights)
        return AffinityDistribution(
            found.mean.reshape(item.shape), None if found.variance is None else found.variance.reshape(item.shape)
        )

    def variance_range(self, user: Tensor, weights: Weights) -> tuple[Tensor, Tensor] | None:
        """Return numbers between which the variances of each user's x_ui lie, `(U,)` each; None where none are known.

        Here those of biases and qualities, for affinities the rest of which is a point.
        """
        if not self.ranks_by_mean or self.item_quality is None:
            return None
        zero = torch.zeros(len(user), dtype=torch.float64, device=user.device)
        of_user = zero if self.user_bias is None else self.user_bias.moments(weights[self.user_bias.site], user)[1]
        least, most = self.quality_range(weights)
        return of_user + least, of_user + most

    @torch.no_grad()
    def forget(self, side: Literal["user", "item"], rows: Tensor) -> None:
        """Put the point-estimated rows of users or items at their prior mean, as those of unseen ids are.

        Args:
            side: whose rows.
            rows: `(R,)` which, as truth values.
        """
        for name, parameter in self.named_parameters():
            if name == f"{side}_vectors_unconstrained":
                parameter[rows] = 0.0

    def estimates(self) -> dict[str, Tensor]:
        """Return the point-estimated global parameters by name, scalars."""
        scales = {f"{site}_scale": bias.log_scale.exp() for site, bias in self.row_biases.items()}
        return {"intercept": self.intercept, **scales}

    def biases(self, batch: Batch) -> Tensor | float:
        """Return a draw of w_u + b_i of each interaction, `(B,)`; 0 where there are neither."""
        of_user = 0.0 if self.user_bias is None else self.user_bias(batch.users)
        return of_user if self.item_quality is None else of_user + self.item_quality(batch.items)

    def with_biases(
        self, rest: AffinityDistribution, user: Tensor, weights: Weights, item: Tensor | None = None
    ) -> AffinityDistribution:
        """Return the distribution of affinities with the bias of their users and the quality of their items added.

        Args:
            rest: `(U, ...)` affinities without them.
            user: `(U,)` codes; -1 is an unseen user, whose bias has its prior.
            weights: q of each site, whole tables.
            item: codes, shaped as the affinities, -1 for an unseen one; by default all items, in the last dimension.
        """
        added = []
        if self.user_bias is not None:
            shape = -1, *[1] * (rest.mean.dim() - 1)
            added.append([part.reshape(shape) for part in self.user_bias.moments(weights[self.user_bias.site], user)])
        if self.item_quality is not None:
            code = torch.arange(self.item_quality.rows, device=user.device) if item is None else item
            added.append(list(self.item_quality.of_items(weights, code)))
        for mean, variance in added:
            rest = AffinityDistribution(rest.mean + mean, rest.variance).widened(variance)
        return rest

    def with_quality(self, order: Tensor, weights: Weights) -> Tensor:
        """Return numbers in the order of the rest of x_ui, `(U, K)`, with the mean quality of items added in place."""
        if self.item_quality is None:
            return order
        mean, _ = self.item_quality.of_items(weights, torch.arange(order.shape[1], device=order.device))
        return order.add_(mean.to(order))

    def quality_range(self, weights: Weights) -> tuple[Tensor | float, Tensor | float]:
        """Return the least and the largest variance of the quality of an item; zeros where items have none."""
        if self.item_quality is None:
            return 0.0, 0.0
        everything = torch.arange(self.item_quality.rows, device=self.intercept.device)
        _, variance = self.item_quality.of_items(weights, everything)
        return variance.amin(), variance.amax()

    def level(self) -> Tensor:
        """Return b0 and add its log prior to the trace."""
        intercept = self.intercept
        pyro.factor("intercept_prior", log_normal(intercept, INTERCEPT_SCALE))
        return intercept


def features_by_side(catalogue: Catalogue) -> dict[str, Features]:
    """Return the features that a catalogue has, by "user" and "item"."""
    given = {"user": catalogue.user_features, "item": catalogue.item_features}
    return {side: features for side, features in given.items() if features is not None}


def rows_or_prior_mean(table: Tensor, code: Tensor) -> Tensor:
    """Return rows `(B, d)`; zeros, the prior mean, where the code is -1."""
    return table.index_select(0, code.clamp(min=0)) * (code >= 0).unsqueeze(-1)


class VectorAffinity(Affinity):
    """Base of affinities x_ui = u . i + b0 of two tables without a distribution."""

    required = ("from_config", "forward", "draw_from_prior")
    ranks_by_mean = True
    user_vectors: Tensor
    item_vectors: Tensor

    def relative(self, user: Tensor, item: Tensor, score: Tensor | None, weights: Weights) -> AffinityDistribution:
        """Return u . i of pairs of codes, `(B,)`."""
        u, i = rows_or_prior_mean(self.user_vectors, user), rows_or_prior_mean(self.item_vectors, item)
        return self.with_biases(AffinityDistribution((u * i).sum(-1).double()), user, weights, item)

    def table(self, user: Tensor, weights: Weights) -> AffinityDistribution:
        """Return u . i + b0 of some users with all items, `(U, K)`."""
        products = self._products(user).double()
        return self.with_biases(AffinityDistribution(products + self.intercept), user, weights)

    def order(self, user: Tensor, weights: Weights) -> Tensor:
        """Return u . i + b_i of some users with all items, `(U, K)`."""
        return self.with_quality(self._products(user), weights)

    def item_means(self, weights: Weights) -> Tensor:
        """Return the vectors of items, `(K, d)`."""
        return self.item_vectors

    def user_means(self, user: Tensor, weights: Weights) -> Tensor:
        """Return the vectors of some users, `(U, d)`."""
        return self.user_vectors.index_select(0, user)

    def _products(self, user: Tensor) -> Tensor:
        return self.user_vectors.index_select(0, user) @ self.item_vectors.T


AFFINITIES: Registry[Affinity] = Registry("affinity", "pyro_popbias.affinities", Affinity, plural="affinities")
