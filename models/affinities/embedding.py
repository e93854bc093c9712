"""Affinities of learned vectors: x_ui = u . i + b0, as point estimates or with a Normal distribution for every row."""

import math
from typing import Annotated, Any, Literal, Self, final

import pyro
import torch
from pydantic import Field, model_validator
from pyro import poutine
from pyro.distributions import Normal
from pyro.nn import PyroParam
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.distributions import constraints

from pyro_popbias.data.batches import Batch, UniqueIds
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.distributions.normal_density import log_normal, log_normal_of_squares
from pyro_popbias.models.affinities.affinity import (
    AFFINITIES,
    Affinity,
    AffinityConfig,
    AffinityDistribution,
    AffinityLatent,
    VectorAffinity,
    Weights,
)
from pyro_popbias.sparse_lookup import gather
from pyro_popbias.validation import Learnable

START_SCALE = 0.2  # of the prior's scale: vectors start near their prior mean, but apart
SCALE_CENTRE = 0.5  # of a learned scale's prior, log scale ~ Normal(log 0.5, 1)


class EmbeddingAffinityConfig(AffinityConfig):
    """x = u . i + b0 with learned vectors, Normal(0, scale)."""

    dim: Annotated[int, Field(strict=True, ge=1, le=4096)] = 64
    scale: Learnable = 0.5
    posterior: Literal["point", "mean-field"] = "point"

    @model_validator(mode="after")
    def _scale(self) -> Self:
        if self.scale == "learned" and self.posterior == "point":
            raise ValueError(
                "scale = 'learned' needs posterior = 'mean-field': with point vectors the likelihood grows without bound "
                "as the scale goes to 0"
            )
        return self


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
    """x_ui = u . i + b0, with learned vectors u, i ~ Normal(0, scale), point-estimated.

    Args:
        users: number of users.
        items: number of items.
        dim: length of the vectors.
        scale: standard deviation of the prior of each coordinate.
        generator: randomness of the start.
    """

    config = EmbeddingAffinityConfig

    def __init__(self, users: int, items: int, *, dim: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.dim, self.scale = dim, scale
        for name, rows in (("user_vectors", users), ("item_vectors", items)):
            start = torch.randn(rows, dim, generator=generator) * (START_SCALE * scale)
            setattr(self, name, PyroParam(start, constraints.real))

    @classmethod
    def from_config(cls, config: EmbeddingAffinityConfig, catalogue: Catalogue, generator: torch.Generator) -> Affinity:
        """Return the affinity at its start; with posterior = "mean-field" the Bayesian one."""
        if config.posterior == "mean-field" or isinstance(config.scale, str):
            return BayesianEmbeddingAffinity.from_config(config, catalogue, generator)
        users, items = len(catalogue.users), len(catalogue.items)
        return cls(users, items, dim=config.dim, scale=config.scale, generator=generator)

    def draw_from_prior(self) -> None:
        """Draw both tables."""
        for table in (self.user_vectors, self.item_vectors):
            table.normal_(0.0, self.scale)

    def forward(self, batch: Batch) -> Tensor:
        """Return u . i + b0 of each interaction, `(B,)`."""
        u, i = gather(self.user_vectors, batch.user), gather(self.item_vectors, batch.item)
        products: tuple[Tensor, Tensor, Tensor] = _Products.apply(u, i)
        pyro.factor("user_vectors_prior", self._log_prior(products[1], batch.user_weight))
        pyro.factor("item_vectors_prior", self._log_prior(products[2], batch.item_weight))
        return products[0].double() + self.level()

    def _log_prior(self, squares: Tensor, weight: Tensor) -> Tensor:
        # sum over rows of weight * log Normal(row; 0, scale)
        return (weight * log_normal_of_squares(squares.double(), self.scale, dim=self.dim)).sum()


@final
class BayesianEmbeddingAffinity(Affinity):
    """x_ui = u . i + b0, with vectors u ~ Normal(0, s_user), i ~ Normal(0, s_item) as latent sites, a row each.

    Args:
        users: number of users.
        items: number of items.
        dim: length of the vectors.
        scale: s_user and s_item; None learns both, with the prior log scale ~ Normal(log 0.5, 1).
    """

    config = EmbeddingAffinityConfig
    log_scale_user: Tensor
    log_scale_item: Tensor

    def __init__(self, users: int, items: int, *, dim: int, scale: float | None) -> None:
        super().__init__()
        self.sizes, self.dim, self.learned = (users, items), dim, scale is None
        self._start_scale = SCALE_CENTRE if scale is None else scale
        for name in ("log_scale_user", "log_scale_item"):
            start = torch.tensor(math.log(self._start_scale), dtype=torch.float64)
            if self.learned:
                setattr(self, name, PyroParam(start, constraints.real))
            else:
                self.register_buffer(name, start)

    @classmethod
    def from_config(cls, config: EmbeddingAffinityConfig, catalogue: Catalogue, generator: torch.Generator) -> Self:
        """Return the affinity at its start."""
        scale = None if isinstance(config.scale, str) else config.scale
        return cls(len(catalogue.users), len(catalogue.items), dim=config.dim, scale=scale)

    def draw_from_prior(self) -> None:
        """Draw the scales, where they are learned; the tables are sites."""
        if self.learned:
            for log_scale in (self.log_scale_user, self.log_scale_item):
                log_scale.normal_(math.log(SCALE_CENTRE), 1.0)

    def prior_weights(self, weights: Weights) -> Weights:
        """Return the prior of both tables, by the present scales."""
        scales = {"user_vectors": self.log_scale_user, "item_vectors": self.log_scale_item}
        return {
            site: torch.distributions.Normal(
                torch.zeros_like(q.loc), scales[site].exp().to(q.loc.dtype).expand_as(q.loc), validate_args=False
            )
            for site, q in weights.items()
        }

    def latents(self, generator: torch.Generator) -> dict[str, AffinityLatent]:
        """Return the two tables."""
        scale = self._start_scale
        user, item = (torch.randn(rows, self.dim, generator=generator) * (START_SCALE * scale) for rows in self.sizes)
        return {
            "user_vectors": AffinityLatent("users", user, scale),
            "item_vectors": AffinityLatent("items", item, scale),
        }

    def log_scale(self, site: str) -> Tensor:
        """Return log s of the prior of a table's rows, a scalar."""
        return self.log_scale_user if site == "user_vectors" else self.log_scale_item

    def forward(self, batch: Batch) -> Tensor:
        """Return u . i + b0 of each interaction, `(B,)`, for one draw of the rows of the batch."""
        u = self._draw("user_vectors", batch.users, self.log_scale_user)
        i = self._draw("item_vectors", batch.items, self.log_scale_item)
        if self.learned:
            for name, value in (("user", self.log_scale_user), ("item", self.log_scale_item)):
                pyro.factor(f"{name}_scale_prior", log_normal(value - math.log(SCALE_CENTRE)))
        return (u * i).sum(-1).double() + self.level()

    def _draw(self, name: str, group: UniqueIds, log_scale: Tensor) -> Tensor:
        """Return a draw of the row of each interaction, `(B, d)`."""
        distribution = Normal(torch.zeros(self.dim, device=log_scale.device), log_scale.exp().float()).to_event(1)
        with pyro.plate(f"{name}_plate", len(group.code)), poutine.scale(scale=group.weight):
            rows: Tensor = pyro.sample(name, distribution)
        return rows.index_select(-2, group.cell_index)

    def relative(self, user: Tensor, item: Tensor, score: Tensor | None, weights: Weights) -> AffinityDistribution:
        """Return u . i of pairs of codes, `(B,)`; an unseen row has mean 0 and the prior's variance."""
        (u, u_variance), (i, i_variance) = (
            self._moments(weights[name], code, log_scale)
            for name, code, log_scale in (
                ("user_vectors", user, self.log_scale_user),
                ("item_vectors", item, self.log_scale_item),
            )
        )
        mean = (u * i).sum(-1).double()
        # Var(u . i) of independent coordinates
        variance = (u.square() * i_variance + u_variance * i.square() + u_variance * i_variance).sum(-1)
        return AffinityDistribution(mean, variance.double())

    def _moments(
        self, distribution: torch.distributions.Normal, code: Tensor, log_scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        known, row = (code >= 0).unsqueeze(-1), code.clamp(min=0)
        mean = distribution.loc.index_select(0, row) * known
        return mean, torch.where(
            known, distribution.scale.index_select(0, row).square(), log_scale.exp().square().float()
        )

    def table(self, user: Tensor, weights: Weights) -> AffinityDistribution:
        """Return u . i + b0 of some users with all items, `(U, K)`."""
        u, u_variance = self._moments(weights["user_vectors"], user, self.log_scale_user)
        i, i_variance = weights["item_vectors"].loc, weights["item_vectors"].scale.square()
        variance = u.square() @ i_variance.T + u_variance @ (i.square() + i_variance).T
        return AffinityDistribution((u @ i.T).double() + self.intercept, variance.double())

    def estimates(self) -> dict[str, Tensor]:
        """Return the point-estimated global parameters by name, scalars."""
        scales = {"user_scale": self.log_scale_user.exp(), "item_scale": self.log_scale_item.exp()}
        return {**super().estimates(), **(scales if self.learned else {})}
