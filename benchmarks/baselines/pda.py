"""PDA: PD with the popularity that is forecast put back."""

from typing import final

from torch import Tensor

from .pd import SETTINGS, ConfoundedFactors


@final
class PDA(ConfoundedFactors):
    """score = ELU'(u.v) m~_i^gamma, m~ = m_T + (m_T - m_{T-1}) / 2, where ELU'(u.v) m_i^gamma is trained by BPR.

    Zhang, Feng, He, Wei, Song, Ling, Zhang (2021), Causal intervention for leveraging popularity bias in recommendation.
    """

    grid = SETTINGS

    def all_scores(self, user: Tensor) -> Tensor:
        """Return ELU'(u.v) m~^gamma."""
        return super().all_scores(user) * self.popularity.forecast() ** self.gamma
