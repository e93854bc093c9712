"""Matrix factorization by Bayesian personalised ranking."""

from typing import final

from torch import Tensor

from .factors import Factors, affinity, pairwise_loss, squares
from .sampling import Batch


class PairwiseFactors(Factors):
    """Scores u.v, trained so that positives score above negatives."""

    pairwise = True

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss of the rows."""
        u, v = self.vectors(batch)
        return pairwise_loss(affinity(u, v)).mean(), squares(u, v)

    def all_scores(self, user: Tensor) -> Tensor:
        """Return u.v."""
        return self.parameters["user"][user] @ self.parameters["item"].T


@final
class BPR(PairwiseFactors):
    """score = u.v; minimises -log sigma(u.v_i - u.v_j) for positives i and negatives j.

    Rendle, Freudenthaler, Gantner, Schmidt-Thieme (2009), BPR: Bayesian personalized ranking from implicit feedback.
    """

    grid = [  # noqa: RUF012
        {"l2": l2, "learning_rate": rate, "against": against}
        for l2 in (1e-3, 2e-2, 2e-1)
        for rate in (2e-3, 1e-2)
        for against in ("uniform", "popular")
    ]
