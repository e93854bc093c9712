"""Vectors of users and items that are trained by Adam; a method says what its loss is."""

import abc
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from .baseline import Baseline
from .log import Log
from .sampling import Against, Batch, Draw, Sampler


class Factors(Baseline):
    """Vectors of users and items.

    An epoch goes once through the positives of the log, each with negatives; through all rows instead where the log
    has labels and the method's loss is pointwise. The loss of a batch is the method's own plus

        l2 / 2 * (sum of |u|^2 + sum of |v|^2) / B

    over the vectors that its rows use, as often as they use them (as in the code of PDA and MACR).

    Attributes:
        pairwise: whether the loss compares a positive with its negatives, so that it needs both in each row.
        losses: mean loss of each epoch so far, without the term of l2.
        parameters: what is trained, by name.
    """

    pairwise: ClassVar[bool]

    def __init__(
        self,
        log: Log,
        *,
        seed: int,
        dim: int = 64,
        learning_rate: float = 5e-3,
        l2: float = 1e-3,
        batch: int | None = None,
        negatives: int = 1,
        draw: Draw = "rows",
        against: Against = "uniform",
        scale: float = 0.01,
        most_epochs: int = 200,
    ) -> None:
        """Draw the vectors.

        Args:
            log: training rows.
            seed: of the vectors and the batches.
            dim: of a vector.
            learning_rate: of Adam.
            l2: weight of the squared norms.
            batch: B, positives (rows, where labels are trained on) in a step; None takes a fiftieth of the log's, from 64
                to 2,048.
            negatives: for each positive.
            draw: "rows" or "users", see `Sampler`.
            against: "uniform" or "popular" negatives, see `Sampler`.
            scale: standard deviation of the first vectors' elements.
            most_epochs: after how many training ends.
        """
        super().__init__(log, seed=seed)
        self.l2, self.number, self.most_epochs = l2, negatives, most_epochs
        self.batch = batch or min(max(len(log.positive if self.pairwise else log.user) // 50, 64), 2048)
        self.sampler = Sampler(log, draw=draw, seed=seed, against=against)
        generator = torch.Generator().manual_seed(seed + 1)
        self.parameters = {
            name: (torch.randn(shape, generator=generator) * scale).requires_grad_()
            for name, shape in self.shapes(dim).items()
        }
        self.optimizer = torch.optim.Adam(list(self.parameters.values()), lr=learning_rate, fused=True)
        self.losses: list[float] = []

    def shapes(self, dim: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of what is trained, by name."""
        return {"user": (self.log.users, dim), "item": (self.log.items, dim)}

    @abc.abstractmethod
    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a batch and the sum of the squared norms of its vectors, each `()`."""

    @abc.abstractmethod
    def all_scores(self, user: Tensor) -> Tensor:
        """Return the scores of all items, `(U, items)`.

        Args:
            user: `(U,)` codes.
        """

    def negatives(self, user: Tensor, item: Tensor) -> Tensor:
        """Return negatives for positives, `(P, n)`.

        Args:
            user: `(P,)` codes.
            item: `(P,)` codes of the positives.
        """
        return self.sampler.negatives(user, self.number)

    def batches(self) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        if self.log.label is not None and not self.pairwise:
            return self.sampler.labelled_rows(self.batch)
        row = self.sampler.positive_rows()
        user, item = (each.index_select(0, row) for each in (self.sampler.user, self.sampler.item))
        return self.sampler.with_negatives(row, self.negatives(user, item), self.batch)

    def epochs(self) -> Iterator[int]:
        """Train."""
        while len(self.losses) < self.most_epochs:
            total, rows = 0.0, 0
            for batch in self.batches():
                loss, norms = self.loss(batch)
                self.optimizer.zero_grad()
                (loss + self.l2 / 2 * norms / len(batch.user)).backward()
                self.optimizer.step()
                total += loss.item() * len(batch.user)
                rows += len(batch.user)
            self.losses.append(total / rows)
            yield len(self.losses)

    def score(self, users: np.ndarray) -> np.ndarray:
        """Return scores of all items for users."""
        with torch.no_grad():
            return self.all_scores(torch.as_tensor(users, dtype=torch.int64)).numpy()

    def state(self) -> dict[str, Any]:
        """Return a copy of the parameters."""
        return {name: value.detach().clone() for name, value in self.parameters.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Set the parameters; the optimizer's moments stay, so this is for scoring and not for training on."""
        with torch.no_grad():
            for name, value in state.items():
                self.parameters[name].copy_(value)

    def vectors(self, batch: Batch, user: str = "user", item: str = "item") -> tuple[Tensor, Tensor]:
        """Return the vectors of a batch's users, `(B, d)`, and of its items, `(B, W, d)`."""
        u = self.parameters[user].index_select(0, batch.user)
        v = self.parameters[item].index_select(0, batch.item.reshape(-1))
        return u, v.view(*batch.item.shape, -1)


def affinity(u: Tensor, v: Tensor) -> Tensor:
    """Return u.v of each row's user and items, `(B, W)`."""
    return torch.bmm(v, u[:, :, None]).squeeze(2)


def squares(*vectors: Tensor) -> Tensor:
    """Return the sum of squared norms, `()`."""
    return torch.stack([each.square().sum() for each in vectors]).sum()


def pointwise_loss(logit: Tensor, label: Tensor) -> Tensor:
    """Return the cross-entropy of each row, summed over its items, `(B,)`."""
    return binary_cross_entropy_with_logits(logit, label, reduction="none").sum(1)


def pairwise_loss(score: Tensor) -> Tensor:
    """Return -log sigmoid(positive - negative), summed over the negatives of a row, `(B,)`; the positive is first."""
    return -logsigmoid(score[:, :1] - score[:, 1:]).sum(1)


def elu_prime(x: Tensor) -> Tensor:
    """Return ELU'(x) of PDA: e^x up to 0 and x + 1 above, positive and increasing."""
    return torch.nn.functional.elu(x) + 1
