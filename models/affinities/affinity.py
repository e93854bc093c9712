"""Affinities x_ui: the logit of a user's interest in an item, without popularity.

Every affinity has an intercept b0 with the prior Normal(0, 5), and may have a bias w_u of each user. There is no bias of
an item: it and the item's popularity z would be one number. Point estimates enter the program by their log prior, as
factors: a row of a table once per user or item, by the same weights as the KL of a cell. Bayesian weights are latent
sites; the guide of the affinity holds their distributions, and hands them back where x_ui is asked for outside of the
program.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pyro
import torch
from pyro.nn import PyroModule, PyroParam
from torch import Tensor
from torch.distributions import Normal, constraints

from pyro_popbias.data.batches import Batch
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.features import Features
from pyro_popbias.distributions.normal_density import log_normal
from pyro_popbias.models.affinities.user_bias import SITE as USER_BIAS
from pyro_popbias.models.affinities.user_bias import UserBias
from pyro_popbias.registry import Registry, Variant
from pyro_popbias.validation import PartConfig

INTERCEPT_SCALE = 5.0
NODES = 16  # of the Gauss-Hermite rule over x_ui; its variance is small where there are data


@dataclass(frozen=True)
class AffinityDistribution:
    """The distribution of affinities: Normal by its first two moments, or a point.

    Attributes:
        mean: logits, any shape.
        variance: the same shape; None where the affinity is a point estimate.
    """

    mean: Tensor
    variance: Tensor | None = None

    def expect(self, function: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor | None]:
        """Return E[f(x)] and the standard deviation of f(x), which is None for a point.

        Args:
            function: from affinities to values of the same shape.
        """
        if self.variance is None:
            return function(self.mean), None
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        sd = self.variance.sqrt()
        mean = square = torch.zeros_like(self.mean)
        for node, weight in zip(nodes, weights / weights.sum(), strict=True):
            value = function(self.mean + float(node) * sd)
            mean, square = mean + float(weight) * value, square + float(weight) * value.square()
        return mean, (square - mean.square()).clamp(min=0.0).sqrt()

    def log_expect(self, log_function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return log E[f(x)] of a positive f given by its logarithm, by the nodes of `expect`.

        Args:
            log_function: from affinities to log f, of the same shape.
        """
        if self.variance is None:
            return log_function(self.mean)
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        sd = self.variance.sqrt()
        values = [
            log_function(self.mean + float(node) * sd) + math.log(weight)
            for node, weight in zip(nodes, weights / weights.sum(), strict=True)
        ]
        return torch.logsumexp(torch.stack(values), 0)

    def quantile(self, probability: float) -> Tensor | None:
        """Return the quantile of each affinity, logits of the same shape; None for a point.

        Args:
            probability: above 0 and below 1.
        """
        if self.variance is None:
            return None
        normal = Normal(self.mean, self.variance.sqrt(), validate_args=False)
        return normal.icdf(self.mean.new_tensor(probability))

    def at(self, *index: Tensor) -> "AffinityDistribution":
        """Return the distributions at some positions."""
        return AffinityDistribution(self.mean[index], None if self.variance is None else self.variance[index])


@dataclass(frozen=True)
class AffinityLatent:
    """Bayesian weights of an affinity: one site.

    Attributes:
        plate: "users" or "items" where there is a row for each, None for global weights.
        start: `(rows, dim)` or `(dim,)`, where q's means start.
        scale: standard deviation of the prior, or its start where it is learned.
        names: `(dim,)` names of the features of global weights; empty for rows.
    """

    plate: Literal["users", "items"] | None
    start: Tensor
    scale: float
    names: tuple[str, ...] = ()


Weights = Mapping[str, Normal]  # q of each site of an affinity, whole tables


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

    Attributes:
        config: the section that holds its keys in a study.
        trains_in_phase_two: whether its parameters go on training when q of popularity settles.
        ranks_by_mean: whether the variance of x_ui is the same for all items of a user, so that scores under one
            popularity rank items as the mean does.
        is_bayesian: whether all that is learned of a user and an item has a posterior, so that scores have intervals.
    """

    required: ClassVar[tuple[str, ...]] = ("from_config", "forward", "relative", "table", "draw_from_prior")
    config: ClassVar[type[AffinityConfig]] = AffinityConfig
    trains_in_phase_two: ClassVar[bool] = False
    ranks_by_mean: ClassVar[bool] = False
    is_bayesian: ClassVar[bool] = True
    intercept: Tensor

    def __init__(self, users: int | None = None) -> None:
        super().__init__()
        self.user_bias = None if users is None else UserBias(users)
        self.intercept = PyroParam(torch.zeros((), dtype=torch.float64), constraints.real)  # type: ignore[assignment]  # read back as a tensor

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
        if self.user_bias is not None:
            self.user_bias.draw_from_prior()

    def prior_weights(self, weights: Weights) -> Weights:
        """Return the prior of each site, in the shapes of its q: Normal around 0, by the present scales.

        Args:
            weights: q of each site, whole tables.
        """
        return {
            site: Normal(
                torch.zeros_like(q.loc), self.log_scale(site).exp().to(q.loc).expand_as(q.loc), validate_args=False
            )
            for site, q in weights.items()
        }

    def latents(self, generator: torch.Generator) -> dict[str, AffinityLatent]:
        """Return the sites that a guide must draw, by name, with their starts drawn from a generator."""
        if self.user_bias is None:
            return {}
        return {USER_BIAS: AffinityLatent("users", torch.zeros(self.user_bias.users, 1), self.user_bias.start_scale)}

    def log_scale(self, site: str) -> Tensor:
        """Return log s of the prior Normal(0, s) of a site: a scalar, or `(dim,)` one for each column of its rows."""
        if site == USER_BIAS and self.user_bias is not None:
            return self.user_bias.log_scale
        return torch.tensor(self.latents(torch.Generator())[site].scale, dtype=torch.float64).log()

    def forward(self, batch: Batch) -> Tensor:
        """Return x_ui of each interaction, `(B,)` logits in float64, and add the log priors to the trace."""
        raise NotImplementedError

    def pairs(self, user: Tensor, item: Tensor, score: Tensor | None, weights: Weights) -> AffinityDistribution:
        """Return x_ui of pairs of codes, `(B,)`; a code of -1 is an unseen id, at its prior mean."""
        distribution = self.relative(user, item, score, weights)
        return AffinityDistribution(distribution.mean + self.intercept, distribution.variance)

    def relative(self, user: Tensor, item: Tensor, score: Tensor | None, weights: Weights) -> AffinityDistribution:
        """Return x_ui - b0 of pairs of codes, `(B,)`; `with_user_bias` adds the bias of users to the rest."""
        raise NotImplementedError

    def table(self, user: Tensor, weights: Weights) -> AffinityDistribution:
        """Return x_ui of some users with all items, `(U, K)`."""
        raise NotImplementedError

    def order(self, user: Tensor, weights: Weights) -> Tensor:
        """Return numbers in the order of each user's means of x_ui, and as far apart, `(U, K)` to be changed freely."""
        return self.table(user, weights).mean.clone()

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
        """Return numbers between which the variances of each user's x_ui lie, `(U,)` each; None where none are known."""
        return None

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
        own = {} if self.user_bias is None else {"user_bias_scale": self.user_bias.log_scale.exp()}
        return {"intercept": self.intercept, **own}

    def biases(self, batch: Batch) -> Tensor | float:
        """Return a draw of w_u of each interaction, `(B,)`; 0 where users have no bias."""
        return 0.0 if self.user_bias is None else self.user_bias(batch.users)

    def with_user_bias(self, rest: AffinityDistribution, user: Tensor, weights: Weights) -> AffinityDistribution:
        """Return the distribution of affinities with the bias of their users added.

        Args:
            rest: `(U, ...)` affinities without it.
            user: `(U,)` codes; -1 is an unseen user, whose bias has its prior.
            weights: q of each site, whole tables.
        """
        if self.user_bias is None:
            return rest
        mean, variance = (
            part.reshape(-1, *[1] * (rest.mean.dim() - 1)) for part in self.user_bias.moments(weights[USER_BIAS], user)
        )
        return AffinityDistribution(
            rest.mean + mean, variance.expand_as(rest.mean) if rest.variance is None else rest.variance + variance
        )

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
        return self.with_user_bias(AffinityDistribution((u * i).sum(-1).double()), user, weights)

    def table(self, user: Tensor, weights: Weights) -> AffinityDistribution:
        """Return u . i + b0 of some users with all items, `(U, K)`."""
        products = self.order(user, weights).double()
        return self.with_user_bias(AffinityDistribution(products + self.intercept), user, weights)

    def order(self, user: Tensor, weights: Weights) -> Tensor:
        """Return u . i of some users with all items, `(U, K)`."""
        return self.user_vectors.index_select(0, user) @ self.item_vectors.T


AFFINITIES: Registry[Affinity] = Registry("affinity", "pyro_popbias.affinities", Affinity, plural="affinities")
