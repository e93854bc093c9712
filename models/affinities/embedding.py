"""The affinity of learned vectors as point estimates: x_ui = u . i + w_u + b0."""

from collections.abc import Callable
from typing import Any, final

import pyro
import torch
from pyro.nn import PyroParam
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.distributions import constraints

from pyro_popbias.data.batch import Batch, UniqueIds
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.distributions.normal_density import log_normal_of_squares
from pyro_popbias.models.affinities.affinity import AFFINITIES, Affinity, VectorAffinity
from pyro_popbias.models.affinities.bayesian_embedding import START_SCALE, BayesianEmbeddingAffinity
from pyro_popbias.models.affinities.embedding_config import EmbeddingAffinityConfig
from pyro_popbias.models.affinities.item_quality import ItemQuality, quality_of
from pyro_popbias.sparse_lookup import gather_distinct, is_read


class _Products(Function):
    """u . i, u . u and i . i of rows `(B, d)`, whose joint gradient takes half the passes of autograd's."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, i: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the value, and keep what the gradient needs."""
        ctx.save_for_backward(u, i)
        dot = torch.linalg.vecdot
        return dot(u, i), dot(u, u), dot(i, i)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_u: Tensor, grad_i: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of each argument."""
        u, i = ctx.saved_tensors
        grad = grad.unsqueeze(-1)
        return (
            (grad * i).addcmul_(grad_u.unsqueeze(-1), u, value=2.0),
            (grad * u).addcmul_(grad_i.unsqueeze(-1), i, value=2.0),
        )


@final
@AFFINITIES.register("embedding")
class EmbeddingAffinity(VectorAffinity):
    """x_ui = u . i + w_u + b0, with learned vectors u, i ~ Normal(0, scale), point-estimated.

    Args:
        users: number of users.
        items: number of items.
        dim: length of the vectors.
        scale: standard deviation of the prior of each coordinate.
        generator: randomness of the start.
        user_bias: whether users have a bias w_u.
        quality: the quality b_i of items; None for none.
    """

    config = EmbeddingAffinityConfig
    is_bayesian = False

    def __init__(
        self,
        users: int,
        items: int,
        *,
        dim: int,
        scale: float,
        generator: torch.Generator,
        user_bias: bool = False,
        quality: ItemQuality | None = None,
    ) -> None:
        super().__init__(users if user_bias else None, quality)
        self.dim, self.scale = dim, scale
        for name, rows in (("user_vectors", users), ("item_vectors", items)):
            start = torch.randn(rows, dim, generator=generator) * (START_SCALE * scale)
            setattr(self, name, PyroParam(start, constraints.real))

    @classmethod
    def vectors(cls, users: int, items: int, features: int) -> int:
        """Return how many vectors are learned: one of each user and item."""
        return users + items

    @classmethod
    def from_config(cls, config: EmbeddingAffinityConfig, catalogue: Catalogue, generator: torch.Generator) -> Affinity:
        """Return the affinity at its start; with posterior = "mean-field" the Bayesian one."""
        if config.posterior == "mean-field" or isinstance(config.scale, str):
            return BayesianEmbeddingAffinity.from_config(config, catalogue, generator)
        users, items = len(catalogue.users), len(catalogue.items)
        return cls(
            users,
            items,
            dim=config.dim,
            scale=config.scale,
            generator=generator,
            user_bias=config.user_bias,
            quality=quality_of(config, catalogue),
        )

    def draw_from_prior(self) -> None:
        """Draw both tables."""
        super().draw_from_prior()
        for table in (self.user_vectors, self.item_vectors):
            table.normal_(0.0, self.scale)

    def forward(self, batch: Batch) -> Tensor:
        """Return u . i + w_u + b0 of each interaction, `(B,)`."""
        u = _rows(self.user_vectors, batch.user, lambda: batch.users)
        i = _rows(self.item_vectors, batch.item, lambda: batch.items)
        products: tuple[Tensor, Tensor, Tensor] = _Products.apply(u, i)
        pyro.factor("user_vectors_prior", self._log_prior(products[1], batch.user_weight))
        pyro.factor("item_vectors_prior", self._log_prior(products[2], batch.item_weight))
        return products[0].double() + self.biases(batch) + self.level()

    def _log_prior(self, squares: Tensor, weight: Tensor) -> Tensor:
        # sum over rows of weight * log Normal(row; 0, scale)
        return (weight * log_normal_of_squares(squares.double(), self.scale, dim=self.dim)).sum()


def _rows(table: Tensor, code: Tensor, group: Callable[[], UniqueIds]) -> Tensor:
    """Return the row of each interaction, `(B, d)`: of a large table, which only gives distinct rows, by way of these."""
    if not is_read(table):
        return table.index_select(0, code)
    distinct = group()
    return gather_distinct(table, distinct.code).index_select(0, distinct.cell_index)
