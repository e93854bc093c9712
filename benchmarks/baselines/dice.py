"""DICE: vectors of interest and vectors of conformity."""

from typing import Any, Literal, final

import torch
from torch import Tensor
from torch.nn.functional import l1_loss, logsigmoid

from .factors import Factors, affinity, pairwise_loss, squares
from .log import Log
from .sampling import Batch


@final
class DICE(Factors):
    """score = u.v + u'.v': interest and conformity, each with its own vectors (or interest alone).

    Where the negative is more popular than the positive, interest has decided: BPR on interest, and BPR reversed on
    conformity. Where it is less popular, conformity has BPR. Their sum always has. Minimises

        BPR(total) + a BPR(interest) + b BPR(conformity) - penalty * (mean |v - v'| + mean |u - u'|),

    a and b decaying by epoch, as the margin does. Half of the negatives have n_j > n_i + margin, half n_j < n_i / 2, as far as
    there are such items. In a labelled log they are the user's rows of label 0.
    Zheng, Gao, Li, He, Li, Jin (2021), Disentangling user interest and conformity for recommendation with causal embedding.
    """

    grid = [  # noqa: RUF012
        {"l2": l2, "branches": w, "scored": s}
        for l2 in (1e-3, 1e-2, 1e-1)
        for w in (0.1, 1.0)
        for s in ("total", "interest")
    ]
    pairwise = True

    def __init__(
        self,
        log: Log,
        *,
        seed: int,
        branches: float = 0.1,
        penalty: float = 0.01,
        margin: float = 40.0,
        decay: float = 0.9,
        scored: Literal["total", "interest"] = "total",
        **setting: Any,
    ) -> None:
        """Draw the vectors.

        Args:
            log: training rows.
            seed: of the vectors and the batches.
            branches: a and b.
            penalty: weight of the discrepancy.
            margin: between the counts of a positive and a more popular negative.
            decay: of a, b and the margin, for each epoch.
            scored: what ranks items.
            setting: see `Factors`.
        """
        super().__init__(log, seed=seed, **setting)
        self.branches, self.penalty, self.margin, self.decay, self.scored = branches, penalty, margin, decay, scored
        self.count = torch.as_tensor(log.item_counts(positives=True), dtype=torch.float32)
        self.ascending, self.order = torch.sort(self.count, stable=True)

    def shapes(self, dim: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of both pairs of vectors."""
        both = super().shapes(dim)
        return both | {f"{name}_conformity": shape for name, shape in both.items()}

    def negatives(self, user: Tensor, item: Tensor) -> Tensor:
        """Return negatives that are clearly more popular or clearly less popular than the positives."""
        if self.log.label is not None:
            return super().negatives(user, item)
        margin = self.margin * self.decay ** len(self.losses)
        count, total = self.count.index_select(0, item), len(self.order)
        low = torch.searchsorted(self.ascending, count / 2)[:, None]  # number of items below
        high = total - torch.searchsorted(self.ascending, count + margin, right=True)[:, None]  # and above
        shape = (len(item), self.number)
        above = (self.sampler.uniform(*shape) < 0.5) & (high > 0) | (low == 0)
        room = torch.where(above, high, low)
        turn = (self.sampler.uniform(*shape) * room).long()
        found = self.order[torch.where(above, total - 1 - turn, turn).clamp(0, total - 1)]
        each = user[:, None].expand(shape)
        free = (room > 0) & ~self.sampler.is_known(each, found)
        return torch.where(free, found, super().negatives(user, item))

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the four terms of a batch; the discrepancy is of all items and the batch's users."""
        u, v = self.vectors(batch)
        u_, v_ = self.vectors(batch, "user_conformity", "item_conformity")
        interest, conformity = affinity(u, v), affinity(u_, v_)
        count = self.count.index_select(0, batch.item.reshape(-1)).view_as(batch.item)
        popular = count[:, 1:] > count[:, :1]
        ahead, follows = interest[:, :1] - interest[:, 1:], conformity[:, :1] - conformity[:, 1:]
        of_interest = -(popular * logsigmoid(ahead)).sum(1)
        of_conformity = -logsigmoid(torch.where(popular, -follows, follows)).sum(1)
        apart = l1_loss(self.parameters["item"], self.parameters["item_conformity"]) + l1_loss(u, u_)
        weight = self.branches * self.decay ** len(self.losses)
        loss = pairwise_loss(interest + conformity) + weight * (of_interest + of_conformity)
        return loss.mean() - self.penalty * apart, squares(u, v, u_, v_)

    def all_scores(self, user: Tensor) -> Tensor:
        """Return u.v, with u'.v' added where the total is scored."""
        interest = self.parameters["user"][user] @ self.parameters["item"].T
        if self.scored == "interest":
            return interest
        return interest + self.parameters["user_conformity"][user] @ self.parameters["item_conformity"].T
