"""BPR-MF whose scores are multiplied by popularity when it recommends."""

from typing import Any, final

from torch import Tensor

from .bpr import PairwiseFactors
from .factors import elu_prime
from .log import Log
from .popularity import Popularity


@final
class BPRPopularity(PairwiseFactors):
    """score = ELU'(u.v) m_i^gamma, with u.v as BPR trains it and m_i the forecast popularity (BPRMF-A).

    Zhang, Feng, He, Wei, Song, Ling, Zhang (2021), Causal intervention for leveraging popularity bias in
    recommendation, section 4. Without times, m_i is of the whole log.
    """

    grid = [  # noqa: RUF012
        {"l2": l2, "gamma": gamma} for l2 in (1e-3, 1e-2, 1e-1) for gamma in (0.02, 0.05, 0.1, 0.2)
    ]

    def __init__(self, log: Log, *, seed: int, gamma: float = 0.1, stages: int = 10, **setting: Any) -> None:
        """Draw the vectors.

        Args:
            log: training rows.
            seed: of the vectors and the batches.
            gamma: power of popularity.
            stages: of time.
            setting: see `Factors`.
        """
        super().__init__(log, seed=seed, **setting)
        self.factor = Popularity.from_log(log, stages=stages).forecast() ** gamma

    def all_scores(self, user: Tensor) -> Tensor:
        """Return ELU'(u.v) m^gamma."""
        return elu_prime(super().all_scores(user)) * self.factor
