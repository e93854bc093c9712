"""MACR: model-agnostic counterfactual reasoning."""

from typing import Any, final

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from .factors import Factors, affinity, pointwise_loss, squares
from .log import Log
from .sampling import Batch


@final
class MACR(Factors):
    """score = (y_k - c) sigma(y_i) sigma(y_u), with y_k = u.v, y_i = w.v and y_u = w'.u.

    Minimises BCE(y_k sigma(y_i) sigma(y_u)) + alpha BCE(y_i) + beta BCE(y_u).
    Wei, Feng, Chen, Wu, Yi, He (2021), Model-agnostic counterfactual reasoning for eliminating popularity bias in
    recommender system.
    """

    grid = [{"l2": l2, "c": c} for l2 in (1e-5, 1e-3, 1e-2) for c in (5.0, 10.0, 20.0, 40.0)]  # noqa: RUF012
    pairwise = False

    def __init__(
        self, log: Log, *, seed: int, alpha: float = 1e-3, beta: float = 1e-3, c: float = 40.0, **setting: Any
    ) -> None:
        """Draw the vectors.

        Args:
            log: training rows.
            seed: of the vectors and the batches.
            alpha: weight of the item's loss.
            beta: weight of the user's loss.
            c: reference value of y_k; it matters only for scores, and may be changed after training.
            setting: see `Factors`.
        """
        super().__init__(log, seed=seed, **setting)
        self.alpha, self.beta, self.c = alpha, beta, c

    def shapes(self, dim: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the vectors and of the two branches."""
        return super().shapes(dim) | {"of_item": (dim,), "of_user": (dim,)}

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean of the three losses; the user's counts once for each item of a row."""
        u, v = self.vectors(batch)
        y_item, y_user = v @ self.parameters["of_item"], (u @ self.parameters["of_user"])[:, None]
        logit = affinity(u, v) * torch.sigmoid(y_item) * torch.sigmoid(y_user)
        of_user = binary_cross_entropy_with_logits(y_user.expand_as(logit), batch.label, reduction="none").sum(1)
        loss = pointwise_loss(logit, batch.label)
        loss = loss + self.alpha * pointwise_loss(y_item, batch.label) + self.beta * of_user
        return loss.mean(), squares(u, v)

    def all_scores(self, user: Tensor) -> Tensor:
        """Return (y_k - c) sigma(y_i) sigma(y_u)."""
        u, v = self.parameters["user"][user], self.parameters["item"]
        branches = (
            torch.sigmoid(v @ self.parameters["of_item"]) * torch.sigmoid(u @ self.parameters["of_user"])[:, None]
        )
        return (u @ v.T - self.c) * branches
