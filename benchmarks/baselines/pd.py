"""PD and PDA: popularity as a confounder, removed, and put back as desired."""

from typing import Any, final

from torch import Tensor

from .factors import Factors, affinity, elu_prime, pairwise_loss, squares
from .log import Log
from .popularity import Popularity
from .sampling import Batch


class ConfoundedFactors(Factors):
    """Trains ELU'(u.v) m^gamma by BPR, m being popularity at the positive's stage."""

    pairwise = True

    def __init__(self, log: Log, *, seed: int, gamma: float = 0.1, stages: int = 10, **setting: Any) -> None:
        """Draw the vectors.

        Args:
            log: training rows.
            seed: of the vectors and the batches.
            gamma: power of popularity.
            stages: of time; without times there is one, and this is PD-G, which its paper found to be weaker.
            setting: see `Factors`.
        """
        super().__init__(log, seed=seed, **setting)
        self.gamma = gamma
        self.popularity = Popularity.from_log(log, stages=stages)

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss of the rows."""
        u, v = self.vectors(batch)
        m = self.popularity.of(batch.row, batch.item)
        return pairwise_loss(elu_prime(affinity(u, v)) * m**self.gamma).mean(), squares(u, v)

    def all_scores(self, user: Tensor) -> Tensor:
        """Return ELU'(u.v), the ranking under do(u, i)."""
        return elu_prime(self.parameters["user"][user] @ self.parameters["item"].T)


SETTINGS: list[dict[str, Any]] = [
    {"l2": l2, "gamma": gamma} for l2 in (1e-3, 1e-2, 1e-1) for gamma in (0.02, 0.05, 0.1, 0.2)
]


@final
class PD(ConfoundedFactors):
    """score = ELU'(u.v), where ELU'(u.v) m_i^gamma is trained by BPR: the ranking that popularity does not confound.

    Zhang, Feng, He, Wei, Song, Ling, Zhang (2021), Causal intervention for leveraging popularity bias in recommendation.
    """

    grid = SETTINGS
