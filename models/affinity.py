"""Affinities x_ui: the logit of a user's interest in an item, without popularity.

Every affinity has an intercept b0 with the prior Normal(0, 5). Point estimates enter the program by their log prior, as
factors: a row of a table once per user or item, by the same weights as the KL of a cell.
"""

import math
from typing import Any, ClassVar, final

import pyro
import torch
from pyro.nn import PyroModule, PyroParam
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.distributions import constraints

from pyro_popbias.batching import Batch
from pyro_popbias.errors import ConfigError
from pyro_popbias.tables import gather
from pyro_popbias.variant import Variant

INTERCEPT_SCALE = 5.0
START_SCALE = 0.2  # of the prior's scale: vectors start near their prior mean, but apart


class Affinity(Variant, PyroModule):
    """Base of affinities."""

    required: ClassVar[tuple[str, ...]] = ("forward", "pairs", "table")
    intercept: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.intercept = PyroParam(torch.zeros((), dtype=torch.float64), constraints.real)  # type: ignore[assignment]  # read back as a tensor

    def forward(self, batch: Batch) -> Tensor:
        """Return x_ui of each interaction, `(B,)` logits in float64, and add the log priors to the trace."""
        raise NotImplementedError

    def pairs(self, user: Tensor, item: Tensor, score: Tensor | None = None) -> Tensor:
        """Return x_ui of pairs of codes, `(B,)` logits; a code of -1 is an unseen id, at its prior mean."""
        raise NotImplementedError

    def table(self, user: Tensor) -> Tensor:
        """Return x_ui of some users with all items, `(U, K)` logits."""
        raise NotImplementedError

    def estimates(self) -> dict[str, Tensor]:
        """Return the global parameters by name, scalars."""
        return {"intercept": self.intercept}

    def level(self) -> Tensor:
        """Return b0 and add its log prior to the trace."""
        intercept = self.intercept
        prior = -0.5 * (intercept / INTERCEPT_SCALE).square() - math.log(INTERCEPT_SCALE) - 0.5 * math.log(2 * math.pi)
        pyro.factor("intercept_prior", prior)
        return intercept


def _rows_or_prior_mean(table: Tensor, code: Tensor) -> Tensor:
    """Return rows `(B, d)`; zeros, the prior mean, where the code is -1."""
    return table.index_select(0, code.clamp(min=0)) * (code >= 0).unsqueeze(-1)


class _Vectors(Affinity):
    """x_ui = u . i + b0, from two tables."""

    required: ClassVar[tuple[str, ...]] = ("forward",)
    user_vectors: Tensor
    item_vectors: Tensor

    def pairs(self, user: Tensor, item: Tensor, score: Tensor | None = None) -> Tensor:
        """Return u . i + b0 of pairs of codes, `(B,)`."""
        u, i = _rows_or_prior_mean(self.user_vectors, user), _rows_or_prior_mean(self.item_vectors, item)
        return (u * i).sum(-1).double() + self.intercept

    def table(self, user: Tensor) -> Tensor:
        """Return u . i + b0 of some users with all items, `(U, K)`."""
        return (self.user_vectors.index_select(0, user) @ self.item_vectors.T).double() + self.intercept


class _Products(Function):
    """u . i, u . u and i . i of rows `(B, d)`, whose joint gradient takes half the passes of autograd's."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, i: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(u, i)
        dot = torch.linalg.vecdot
        return dot(u, i), dot(u, u), dot(i, i)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_u: Tensor, grad_i: Tensor) -> tuple[Tensor, Tensor]:
        u, i = ctx.saved_tensors
        grad = grad.unsqueeze(-1)
        return (
            (grad * i).addcmul_(grad_u.unsqueeze(-1), u, value=2.0),
            (grad * u).addcmul_(grad_i.unsqueeze(-1), i, value=2.0),
        )


@final
class EmbeddingAffinity(_Vectors):
    """x_ui = u . i + b0, with learned vectors u, i ~ Normal(0, scale), point-estimated.

    Args:
        users: number of users.
        items: number of items.
        dim: length of the vectors.
        scale: standard deviation of the prior of each coordinate.
        generator: randomness of the start.
    """

    def __init__(self, users: int, items: int, *, dim: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.dim, self.scale = dim, scale
        for name, rows in (("user_vectors", users), ("item_vectors", items)):
            start = torch.randn(rows, dim, generator=generator) * (START_SCALE * scale)
            setattr(self, name, PyroParam(start, constraints.real))

    def forward(self, batch: Batch) -> Tensor:
        """Return u . i + b0 of each interaction, `(B,)`."""
        u, i = gather(self.user_vectors, batch.user), gather(self.item_vectors, batch.item)
        products: tuple[Tensor, Tensor, Tensor] = _Products.apply(u, i)
        pyro.factor("user_vectors_prior", self._log_prior(products[1], batch.user_weight))
        pyro.factor("item_vectors_prior", self._log_prior(products[2], batch.item_weight))
        return products[0].double() + self.level()

    def _log_prior(self, squares: Tensor, weight: Tensor) -> Tensor:
        # sum over rows of weight * log Normal(row; 0, scale)
        constant = self.dim * (math.log(self.scale) + 0.5 * math.log(2 * math.pi))
        return -(weight * (squares.double() / (2 * self.scale**2) + constant)).sum()


@final
class FixedVectorAffinity(_Vectors):
    """x_ui = u . i + b0, with given vectors; only b0 is learned.

    Args:
        user_vectors: `(users, d)`.
        item_vectors: `(items, d)`.
    """

    def __init__(self, user_vectors: Tensor, item_vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("user_vectors", user_vectors)
        self.register_buffer("item_vectors", item_vectors)

    def forward(self, batch: Batch) -> Tensor:
        """Return u . i + b0 of each interaction, `(B,)`."""
        u, i = gather(self.user_vectors, batch.user), gather(self.item_vectors, batch.item)
        return (u * i).sum(-1).double() + self.level()


@final
class FixedScoreAffinity(Affinity):
    """x_ui = score + b0, with the score a column of the data; only b0 is learned."""

    def forward(self, batch: Batch) -> Tensor:
        """Return score + b0 of each interaction, `(B,)`."""
        assert batch.score is not None  # noqa: S101  the pair gives every batch its score
        return batch.score.double() + self.level()

    def pairs(self, user: Tensor, item: Tensor, score: Tensor | None = None) -> Tensor:
        """Return score + b0, `(B,)`."""
        assert score is not None  # noqa: S101  the caller reads the column
        return score.double() + self.intercept

    def table(self, user: Tensor) -> Tensor:
        """Refuse: a score column says nothing about other pairs.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "PB-C003: a fixed score column has no value for pairs outside the data, so nothing can be recommended; "
            "give user_vectors and item_vectors, or predict on a frame that has the column"
        )
