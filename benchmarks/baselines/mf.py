"""Logistic matrix factorization."""

from typing import Any, Literal, final

import torch
from torch import Tensor

from .factors import Factors, affinity, pointwise_loss, squares
from .log import Log
from .sampling import Batch


class LogisticFactors(Factors):
    """P(c=1 | u, i) = sigma(u.v [+ b + b_u + b_i]), trained by cross-entropy, its rows perhaps weighted."""

    pairwise = False

    def __init__(
        self, log: Log, *, seed: int, bias: bool = False, scored: Literal["total", "affinity"] = "total", **setting: Any
    ) -> None:
        """Draw the vectors.

        Args:
            log: training rows.
            seed: of the vectors and the batches.
            bias: whether users, items and the whole log have intercepts.
            scored: what ranks items: the logit, or u.v alone, without the item's intercept.
            setting: see `Factors`.
        """
        self.bias, self.scored = bias, scored
        super().__init__(log, seed=seed, **setting)
        with torch.no_grad():
            for name in self.parameters.keys() - {"user", "item"}:
                self.parameters[name].zero_()

    def shapes(self, dim: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the vectors, and of the intercepts where there are some."""
        biases = {"base": (1,), "user_bias": (self.log.users,), "item_bias": (self.log.items,)}
        return super().shapes(dim) | (biases if self.bias else {})

    def row_weights(self, batch: Batch) -> Tensor | None:
        """Return the weights of rows, `(B,)`; None where all are 1."""
        return None

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the weighted mean of the rows' cross-entropy."""
        u, v = self.vectors(batch)
        logit, norms = affinity(u, v), squares(u, v)
        if self.bias:
            one = self.parameters["user_bias"].index_select(0, batch.user)[:, None]
            other = self.parameters["item_bias"].index_select(0, batch.item.reshape(-1)).view_as(batch.item)
            logit, norms = logit + self.parameters["base"] + one + other, norms + squares(one, other)
        loss, weight = pointwise_loss(logit, batch.label), self.row_weights(batch)
        return (loss if weight is None else loss * weight).mean(), norms

    def all_scores(self, user: Tensor) -> Tensor:
        """Return the logits."""
        logit = self.parameters["user"][user] @ self.parameters["item"].T
        if not self.bias or self.scored == "affinity":
            return logit
        return logit + self.parameters["base"] + self.parameters["user_bias"][user, None] + self.parameters["item_bias"]


@final
class MF(LogisticFactors):
    """P(c=1 | u, i) = sigma(u.v), by cross-entropy against sampled negatives, or labels where there are some.

    Koren, Bell, Volinsky (2009), Matrix factorization techniques for recommender systems, with a logistic loss.
    """

    grid = [  # noqa: RUF012
        {"l2": l2, "bias": bias, "against": against}
        for l2 in (1e-4, 2e-2, 1e-1)
        for bias in (False, True)
        for against in ("uniform", "popular")
    ]
