"""The affinity of vectors with a distribution: x_ui = u . i + w_u + b0, with a Normal q for every row.

The scales of their prior are learned unless they are given, one for each dimension and the same for users and items: only
the product of both is identified. Training holds them while vectors leave 0, and then drops the dimensions that the
data do not need (`training.vector_scales`), so that `dim` is an upper bound.
"""

import math
from collections.abc import Mapping
from typing import Any, Self, final

import pyro
import torch
from pyro import poutine
from pyro.distributions import Normal
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import constraints

from pyro_popbias.data.batch import Batch, UniqueIds
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.distributions.normal_density import log_normal
from pyro_popbias.models.affinities.affinity import Affinity
from pyro_popbias.models.affinities.distribution import AffinityDistribution
from pyro_popbias.models.affinities.embedding_config import EmbeddingAffinityConfig
from pyro_popbias.models.affinities.item_quality import ItemQuality, quality_of
from pyro_popbias.models.affinities.latents import AffinityLatent, Weights
from pyro_popbias.sparse_lookup import adopt_shapes, set_parameter

START_SCALE = 0.2  # of the prior's scale: vectors start near their prior mean, but apart
SCALE_CENTRE = 0.5  # of a learned scale's prior, log scale ~ Normal(log 0.5, 1)
INFORMATION = 0.1  # of a label about x, of a product of two probabilities near a half; a logit's has up to 1/4
ABOVE_NOISE = 2.0  # times the square of the scale at which the largest directions of noise vanish
SITES = ("user_vectors", "item_vectors")


def start_scale(users: int, items: int, rows: int) -> float:
    """Return the scale of vectors that training starts with, at most 1.

    In N labels of U x K pairs, each with information w about x, noise has singular values up to (sqrt(U) + sqrt(K)) s, with
    s = sqrt(U K / (w N)) (Marchenko and Pastur 1967). Point vectors with the prior Normal(0, scale) shrink a singular value
    by s^2 / scale^2: at scale^2 = s / (sqrt(U) + sqrt(K)) nothing but signal is left. Somewhat above it signals near the edge
    are kept as well, and noise that comes with them is pruned later.
    """
    noise = math.sqrt(users * items / (INFORMATION * max(rows, 1)))
    return min(1.0, math.sqrt(ABOVE_NOISE * noise / (math.sqrt(users) + math.sqrt(items))))


@final
class BayesianEmbeddingAffinity(Affinity):
    """x_ui = u . i + w_u + b_i + b0, with vectors u, i ~ Normal(0, s_k) in dimension k as latent sites, a row each.

    Args:
        users: number of users.
        items: number of items.
        dim: length of the vectors; an upper bound where scales are learned.
        scale: of all dimensions, or the start of those that are learned.
        learned: whether there is a scale for each dimension, with the prior log s_k ~ Normal(log 0.5, 1).
        user_bias: whether users have a bias w_u.
        quality: the quality b_i of items; None for none.
    """

    config = EmbeddingAffinityConfig
    vector_log_scale: Tensor

    def __init__(
        self,
        users: int,
        items: int,
        *,
        dim: int,
        scale: float,
        learned: bool = False,
        user_bias: bool = False,
        quality: ItemQuality | None = None,
    ) -> None:
        super().__init__(users if user_bias else None, quality)
        self.sizes, self.learned, self._start_scale = (users, items), learned, scale
        start = torch.full((dim,), math.log(scale), dtype=torch.float64)
        if learned:
            self.vector_log_scale = PyroParam(start, constraints.real)  # type: ignore[assignment]  # read back as a tensor
        else:
            self.register_buffer("vector_log_scale", start)

    @classmethod
    def from_config(cls, config: EmbeddingAffinityConfig, catalogue: Catalogue, generator: torch.Generator) -> Self:
        """Return the affinity at its start."""
        users, items, learned = len(catalogue.users), len(catalogue.items), isinstance(config.scale, str)
        scale = start_scale(users, items, int(catalogue.count.sum())) if learned else float(config.scale)
        return cls(
            users,
            items,
            dim=config.dim,
            scale=scale,
            learned=learned,
            user_bias=config.user_bias,
            quality=quality_of(config, catalogue),
        )

    @property
    def dim(self) -> int:
        """Length of the vectors; where scales are learned, of what is left of them."""
        return len(self.vector_log_scale)

    def set_log_scale(self, log_scale: Tensor) -> None:
        """Set the learned scales, `(dim,)` one for each dimension that is left."""
        set_parameter(self, "vector_log_scale", log_scale)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        adopt_shapes(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def draw_from_prior(self) -> None:
        """Draw the scales, where they are learned; the tables are sites."""
        super().draw_from_prior()
        if self.learned:
            self.vector_log_scale.normal_(math.log(SCALE_CENTRE), 1.0)

    def latents(self, generator: torch.Generator) -> dict[str, AffinityLatent]:
        """Return the two tables, and the bias of users."""
        scale = self._start_scale
        user, item = (torch.randn(rows, self.dim, generator=generator) * (START_SCALE * scale) for rows in self.sizes)
        return {
            "user_vectors": AffinityLatent("users", user, scale),
            "item_vectors": AffinityLatent("items", item, scale),
            **super().latents(generator),
        }

    def log_scale(self, site: str) -> Tensor:
        """Return log s of the prior of a site: `(dim,)` of vectors, a scalar of the bias."""
        return self.vector_log_scale if site in SITES else super().log_scale(site)

    def global_regressors(self, user: Tensor, item: Tensor) -> dict[str, Tensor]:
        """Return nothing: all weights are those of users and items."""
        return {}

    def forward(self, batch: Batch) -> Tensor:
        """Return u . i + w_u + b0 of each interaction, `(B,)`, for one draw of the rows of the batch."""
        u, i = self._draw("user_vectors", batch.users), self._draw("item_vectors", batch.items)
        if self.learned:
            pyro.factor("vector_scale_prior", log_normal(self.vector_log_scale - math.log(SCALE_CENTRE)).sum())
        return (u * i).sum(-1).double() + self.biases(batch) + self.level()

    def _draw(self, name: str, group: UniqueIds) -> Tensor:
        """Return a draw of the row of each interaction, `(B, d)`."""
        scale = self.vector_log_scale.exp().float()
        distribution = Normal(torch.zeros_like(scale), scale).to_event(1)
        with pyro.plate(f"{name}_plate", len(group.code)), poutine.scale(scale=group.weight):
            rows: Tensor = pyro.sample(name, distribution)
        return rows.index_select(-2, group.cell_index)

    def relative(self, user: Tensor, item: Tensor, score: Tensor | None, weights: Weights) -> AffinityDistribution:
        """Return u . i + w_u of pairs of codes, `(B,)`; an unseen row has mean 0 and the prior's variance."""
        (u, u_variance), (i, i_variance) = (
            self._moments(weights[site], code) for site, code in zip(SITES, (user, item), strict=True)
        )
        mean = (u * i).sum(-1).double()
        # Var(u . i) of independent coordinates
        variance = (u.square() * i_variance + u_variance * i.square() + u_variance * i_variance).sum(-1)
        return self.with_biases(AffinityDistribution(mean, variance.double()), user, weights, item)

    def _moments(self, distribution: torch.distributions.Normal, code: Tensor) -> tuple[Tensor, Tensor]:
        known, row = (code >= 0).unsqueeze(-1), code.clamp(min=0)
        mean = distribution.loc.index_select(0, row) * known
        of_prior = (2 * self.vector_log_scale).exp().float()
        return mean, torch.where(known, distribution.scale.index_select(0, row).square(), of_prior)

    def table(self, user: Tensor, weights: Weights) -> AffinityDistribution:
        """Return x_ui of some users with all items, `(U, K)`."""
        u, u_variance = self._moments(weights["user_vectors"], user)
        i, i_variance = weights["item_vectors"].loc, weights["item_vectors"].scale.square()
        variance = u.square() @ i_variance.T + u_variance @ (i.square() + i_variance).T
        rest = AffinityDistribution((u @ i.T).double() + self.intercept, variance.double())
        return self.with_biases(rest, user, weights)

    def order(self, user: Tensor, weights: Weights) -> Tensor:
        """Return the mean of u . i + b_i of some users with all items, `(U, K)`."""
        products = weights["user_vectors"].loc.index_select(0, user) @ weights["item_vectors"].loc.T
        return self.with_quality(products, weights)

    def item_means(self, weights: Weights) -> Tensor:
        """Return the means of the vectors of items, `(K, d)`."""
        return weights["item_vectors"].loc

    def user_means(self, user: Tensor, weights: Weights) -> Tensor:
        """Return the means of the vectors of some users, `(U, d)`."""
        return weights["user_vectors"].loc.index_select(0, user)

    def among(self, user: Tensor, item: Tensor, weights: Weights) -> AffinityDistribution:
        """Return x_ui of users with some items of each, `(U, M)`."""
        u, u_variance = (part.unsqueeze(-1) for part in self._moments(weights["user_vectors"], user))
        q, rows, shape = weights["item_vectors"], item.reshape(-1), (*item.shape, self.dim)
        i, i_variance = q.loc.index_select(0, rows).view(shape), q.scale.index_select(0, rows).view(shape).square_()
        mean = (i @ u).squeeze(-1).double() + self.intercept
        # the same three terms as of `relative`, summed as products of matrices
        variance = (i_variance @ (u.square() + u_variance) + i.square_() @ u_variance).squeeze(-1)
        return self.with_biases(AffinityDistribution(mean, variance.double()), user, weights, item)

    def variance_range(self, user: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        """Return the variances of users with two items that do not exist: the least, and the most, of each coordinate."""
        u, u_variance = self._moments(weights["user_vectors"], user)
        i_variance = weights["item_vectors"].scale.square()
        both = weights["item_vectors"].loc.square() + i_variance
        bias, quality = self.user_bias, self.quality_range(weights)
        of_user = 0.0 if bias is None else bias.moments(weights[bias.site], user)[1]

        def end(of_variance: Tensor, of_both: Tensor, of_quality: Tensor | float) -> Tensor:
            return (u.square() @ of_variance + u_variance @ of_both).double() + of_user + of_quality

        return end(i_variance.amin(0), both.amin(0), quality[0]), end(i_variance.amax(0), both.amax(0), quality[1])

    def estimates(self) -> dict[str, Tensor]:
        """Return the point-estimated global parameters by name, scalars; the effective rank is the number of scales."""
        if not self.learned:
            return super().estimates()
        scales = self.vector_log_scale.exp()
        rank = torch.tensor(float(len(scales)), dtype=torch.float64)
        return {
            **super().estimates(),
            "effective_rank": rank,
            **{f"vector_scale[{k}]": scale for k, scale in enumerate(scales)},
        }
