"""The affinity of a factorization machine: vectors of ids and of side features."""

from collections.abc import Mapping
from typing import Annotated, Self, final

import pyro
import torch
from pydantic import Field
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import constraints

from pyro_popbias.data.batch import Batch, UniqueIds
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.features import Features
from pyro_popbias.distributions.normal_density import log_normal
from pyro_popbias.models.affinities.affinity import AFFINITIES, Affinity, AffinityConfig, features_by_side
from pyro_popbias.models.affinities.distribution import AffinityDistribution
from pyro_popbias.models.affinities.item_quality import ItemQuality, quality_of
from pyro_popbias.models.affinities.latents import Weights
from pyro_popbias.sparse_lookup import gather
from pyro_popbias.validation import Flag, Positive

START_SCALE = 0.2  # of the prior's scale
WEIGHT_SCALE = 1.0  # of the prior of a linear weight
SIDES = ("user", "item")


class FactorizationAffinityConfig(AffinityConfig):
    """Vectors of ids and of side features, Normal(0, scale)."""

    dim: Annotated[int, Field(strict=True, ge=1, le=4096)] = 64
    scale: Positive = 0.5
    user_bias: Flag = True
    item_quality: Flag = False


@final
@AFFINITIES.register("factorization-machine")
class FactorizationAffinity(Affinity):
    """x_ui = P_u . Q_i + w . a_u + v . a_i + w_u + b0, with P_u and Q_i sums of the vectors of an id and its features.

    A factorization machine (Rendle 2010) in which an id is one feature among others. Two terms are left out, because
    popularity z already is the free number of an item: a linear weight of the item's id, and products of features of
    the item's own side, which are one number per item too. Products within the user's side are one number per user, as w_u
    is. Vectors ~ Normal(0, scale) and linear weights ~ Normal(0, 1) are point estimates; w_u has a posterior.

    Args:
        users: number of users.
        items: number of items.
        features: of users, items or both, by "user" and "item".
        dim: length of the vectors.
        scale: standard deviation of the prior of each coordinate.
        generator: randomness of the start.
        user_bias: whether users have a bias w_u.
        quality: the quality b_i of items besides their features' weights; None for none.
    """

    config = FactorizationAffinityConfig
    ranks_by_mean = True
    is_bayesian = False

    def __init__(
        self,
        users: int,
        items: int,
        features: Mapping[str, Features],
        *,
        dim: int,
        scale: float,
        generator: torch.Generator,
        user_bias: bool = False,
        quality: ItemQuality | None = None,
    ) -> None:
        super().__init__(users if user_bias else None, quality)
        self.dim, self.scale, self.items = dim, scale, items
        self.sides = tuple(features)
        for side, rows in zip(SIDES, (users, items), strict=True):
            self._vectors(f"{side}_vectors", rows, generator)
        for side, each in features.items():
            self._vectors(f"{side}_feature_vectors", len(each.names), generator)
            setattr(self, f"{side}_feature_weights", PyroParam(torch.zeros(len(each.names), 1), constraints.real))
            self.register_buffer(f"{side}_index", torch.tensor(each.index), persistent=False)
            self.register_buffer(f"{side}_value", torch.tensor(each.value), persistent=False)

    @classmethod
    def vectors(cls, users: int, items: int, features: int) -> int:
        """Return how many vectors are learned: one of each user and item and column of features."""
        return users + items + features

    @classmethod
    def from_config(cls, config: FactorizationAffinityConfig, catalogue: Catalogue, generator: torch.Generator) -> Self:
        """Return the affinity at its start."""
        users, items, features = len(catalogue.users), len(catalogue.items), features_by_side(catalogue)
        return cls(
            users,
            items,
            features,
            dim=config.dim,
            scale=config.scale,
            generator=generator,
            user_bias=config.user_bias,
            quality=quality_of(config, catalogue, with_features=False),
        )

    def draw_from_prior(self) -> None:
        """Draw vectors and linear weights."""
        super().draw_from_prior()
        for name, parameter in self.named_parameters(recurse=False):
            if parameter.dim():  # the intercept is everybody's
                parameter.normal_(0.0, self.scale if "vectors" in name else WEIGHT_SCALE)

    def _vectors(self, name: str, rows: int, generator: torch.Generator) -> None:
        start = torch.randn(rows, self.dim, generator=generator) * (START_SCALE * self.scale)
        setattr(self, name, PyroParam(start, constraints.real))

    def forward(self, batch: Batch) -> Tensor:
        """Return x_ui of each interaction, `(B,)`."""
        sides = {}
        for side, group in (("user", batch.users), ("item", batch.items)):
            own = self._own(side, group.code)
            vector, linear = self._with_features(side, group.code, own)
            sides[side] = vector.index_select(0, group.cell_index), linear.index_select(0, group.cell_index)
            self._add_log_priors(side, group, own)
        (user, user_linear), (item, item_linear) = sides["user"], sides["item"]
        own_terms = ((user * item).sum(-1) + user_linear + item_linear).double()
        return own_terms + self.biases(batch) + self.level()

    def _own(self, side: str, code: Tensor) -> Tensor:
        """Return the vectors of some ids, `(G, d)`."""
        return gather(getattr(self, f"{side}_vectors"), code)

    def _with_features(self, side: str, code: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums of vectors, `(G, d)`, and of linear weights, `(G,)`, of ids and their features."""
        linear = vector.new_zeros(len(vector))
        if side not in self.sides:
            return vector, linear
        index = getattr(self, f"{side}_index").index_select(0, code)
        value = getattr(self, f"{side}_value").index_select(0, code).unsqueeze(-1)
        of_vectors, of_weights = (
            (gather(getattr(self, f"{side}_feature_{kind}"), index.reshape(-1)).reshape(*index.shape, -1) * value).sum(
                1
            )
            for kind in ("vectors", "weights")
        )
        return vector + of_vectors, linear + of_weights.squeeze(-1)

    def _add_log_priors(self, side: str, group: UniqueIds, own: Tensor) -> None:
        """Add the log prior of the rows of a batch, by their weights, and of the features' parameters once."""
        log_prior = log_normal(own.double(), self.scale).sum(-1)
        pyro.factor(f"{side}_vectors_prior", (group.weight * log_prior).sum())
        if side in self.sides:
            for kind, scale in (("vectors", self.scale), ("weights", WEIGHT_SCALE)):
                table = getattr(self, f"{side}_feature_{kind}")
                rows = gather(table, torch.arange(len(table), device=table.device))
                pyro.factor(f"{side}_feature_{kind}_prior", log_normal(rows.double(), scale).sum())

    def _side(self, side: str, code: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums of some ids, zeros where the code is -1."""
        known, row = (code >= 0).float(), code.clamp(min=0)
        vector, linear = self._with_features(side, row, self._own(side, row))
        return vector * known.unsqueeze(-1), linear * known

    def relative(self, user: Tensor, item: Tensor, score: Tensor | None, weights: Weights) -> AffinityDistribution:
        """Return x_ui - b0 of pairs of codes, `(B,)`."""
        (p, user_linear), (q, item_linear) = self._side("user", user), self._side("item", item)
        rest = AffinityDistribution(((p * q).sum(-1) + user_linear + item_linear).double())
        return self.with_biases(rest, user, weights, item)

    def table(self, user: Tensor, weights: Weights) -> AffinityDistribution:
        """Return x_ui of some users with all items, `(U, K)`."""
        rest = self._rest(user).double() + self.intercept
        return self.with_biases(AffinityDistribution(rest), user, weights)

    def order(self, user: Tensor, weights: Weights) -> Tensor:
        """Return x_ui - w_u - b0 of some users with all items, `(U, K)`."""
        return self.with_quality(self._rest(user), weights)

    def item_means(self, weights: Weights) -> Tensor:
        """Return the vectors of items with those of their features, `(K, d)`."""
        return self._side("item", torch.arange(self.items, device=self.intercept.device))[0]

    def user_means(self, user: Tensor, weights: Weights) -> Tensor:
        """Return the vectors of some users with those of their features, `(U, d)`."""
        return self._side("user", user)[0]

    def _rest(self, user: Tensor) -> Tensor:
        """Return x_ui - w_u - b_i - b0 of some users with all items, `(U, K)`."""
        p, user_linear = self._side("user", user)
        q, item_linear = self._side("item", torch.arange(self.items, device=user.device))
        return torch.addmm(item_linear, p, q.T).add_(user_linear.unsqueeze(1))
