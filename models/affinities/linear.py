"""Affinities of given features, with Bayesian weights."""

from collections.abc import Mapping
from typing import Self, final

import pyro
import torch
from pyro.distributions import Normal
from torch import Tensor

from pyro_popbias.data.batch import Batch
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.features import Features
from pyro_popbias.errors import DataError
from pyro_popbias.models.affinities.affinity import AFFINITIES, Affinity, AffinityConfig, features_by_side
from pyro_popbias.models.affinities.distribution import AffinityDistribution
from pyro_popbias.models.affinities.item_quality import ItemQuality, quality_of
from pyro_popbias.models.affinities.latents import AffinityLatent, Weights
from pyro_popbias.validation import Flag

WEIGHT_SCALE = 1.0  # of the prior of a weight, per unit of its feature


class LinearAffinityConfig(AffinityConfig):
    """Bayesian weights of the features of users and items."""

    user_bias: Flag = True
    item_quality: Flag = False


@final
@AFFINITIES.register("linear")
class LinearAffinity(Affinity):
    """x_ui = beta_user . a_u + beta_item . a_i + w_u + b_i + b0, with beta ~ Normal(0, 1) as latent sites.

    Nothing in it belongs to user and item together: in an additive model every user has the same ranking of items.

    Args:
        features: of users, items or both, by "user" and "item".
        items: number of items.
        users: number of users, each with a bias w_u; None for none.
        quality: the quality b_i of items besides their features' weights; None for none.
    """

    config = LinearAffinityConfig
    trains_in_phase_two = True

    def __init__(
        self,
        features: Mapping[str, Features],
        *,
        items: int,
        users: int | None = None,
        quality: ItemQuality | None = None,
    ) -> None:
        super().__init__(users, quality)
        self.items = items
        self.names = {side: each.names for side, each in features.items()}
        for side, each in features.items():
            self.register_buffer(f"{side}_index", torch.tensor(each.index), persistent=False)
            self.register_buffer(f"{side}_value", torch.tensor(each.value).double(), persistent=False)

    @classmethod
    def from_config(cls, config: LinearAffinityConfig, catalogue: Catalogue, generator: torch.Generator) -> Self:
        """Return the affinity of the features of a catalogue.

        Raises:
            DataError: there are none.
        """
        features = features_by_side(catalogue)
        if not features:
            raise DataError(
                "PB-D109: a linear affinity needs features of users or items; pass user_features= or item_features= with "
                "the interactions, or name their files in [data]"
            )
        users = len(catalogue.users) if config.user_bias else None
        quality = quality_of(config, catalogue, with_features=False)
        return cls(features, items=len(catalogue.items), users=users, quality=quality)

    def draw_from_prior(self) -> None:
        """Draw the scale of the users' biases, where they have one; the weights are sites."""
        super().draw_from_prior()

    def latents(self, generator: torch.Generator) -> dict[str, AffinityLatent]:
        """Return the weights of users' and of items' features."""
        weights = {
            f"beta_{side}": AffinityLatent(None, torch.zeros(len(names), dtype=torch.float64), WEIGHT_SCALE, names)
            for side, names in self.names.items()
        }
        return {**weights, **super().latents(generator)}

    def forward(self, batch: Batch) -> Tensor:
        """Return x_ui of each interaction, `(B,)`, for one draw of the weights."""
        x = self.biases(batch) + self.level()
        for side, names in self.names.items():
            zero = torch.zeros(len(names), dtype=torch.float64, device=x.device)
            beta = pyro.sample(f"beta_{side}", Normal(zero, WEIGHT_SCALE).to_event(1))
            index, value = self._rows(side, batch.user if side == "user" else batch.item)
            weight = beta.index_select(-1, index.reshape(-1)).reshape(*beta.shape[:-1], *index.shape)
            # vectorised particles put a 1 before the features, where the interactions belong
            x = x + (weight * value).sum(-1).reshape(*beta.shape[:-2], len(index))
        return x

    def _rows(self, side: str, code: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and their values, `(B, M)` each; zeros where the code is -1."""
        index, value = getattr(self, f"{side}_index"), getattr(self, f"{side}_value")
        row = code.clamp(min=0)
        return index.index_select(0, row), value.index_select(0, row) * (code >= 0).unsqueeze(-1)

    def global_regressors(self, user: Tensor, item: Tensor) -> dict[str, Tensor]:
        """Return the features of users and of items, `(B, n)` each."""
        found = {}
        for side, code in (("user", user), ("item", item)):
            if side in self.names:
                index, value = self._rows(side, code)
                dense = torch.zeros(len(code), len(self.names[side]), dtype=value.dtype, device=value.device)
                found[f"beta_{side}"] = dense.scatter_add_(1, index, value)
        return found

    def _side(self, side: str, code: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        """Return mean and variance of beta . a of some users or items, `(B,)` each."""
        if side not in self.names:
            zero = torch.zeros(len(code), dtype=torch.float64, device=code.device)
            return zero, zero
        index, value = self._rows(side, code)
        distribution = weights[f"beta_{side}"]
        return (distribution.loc[index] * value).sum(-1), (distribution.scale.square()[index] * value.square()).sum(-1)

    def relative(self, user: Tensor, item: Tensor, score: Tensor | None, weights: Weights) -> AffinityDistribution:
        """Return x_ui - b0 of pairs of codes, `(B,)`; the features of an unseen id count as 0."""
        (u, u_variance), (i, i_variance) = self._side("user", user, weights), self._side("item", item, weights)
        return self.with_biases(AffinityDistribution(u + i, u_variance + i_variance), user, weights, item)

    def table(self, user: Tensor, weights: Weights) -> AffinityDistribution:
        """Return x_ui of some users with all items, `(U, K)`."""
        items = torch.arange(self.items, device=user.device)
        (u, u_variance), (i, i_variance) = self._side("user", user, weights), self._side("item", items, weights)
        rest = AffinityDistribution(u.unsqueeze(1) + i + self.intercept, u_variance.unsqueeze(1) + i_variance)
        return self.with_biases(rest, user, weights)

    def variance_range(self, user: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        """Return the variance of each user with the items whose own is the least and the most."""
        items = torch.arange(self.items, device=user.device)
        _, of_user = self._side("user", user, weights)
        _, of_item = self._side("item", items, weights)
        if self.item_quality is not None:
            of_item = of_item + self.item_quality.of_items(weights, items)[1]
        bias = self.user_bias
        variance = of_user if bias is None else of_user + bias.moments(weights[bias.site], user)[1]
        return variance + of_item.amin(), variance + of_item.amax()
