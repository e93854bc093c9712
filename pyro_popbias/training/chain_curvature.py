"""Periods of an item that depend on each other: q stands for the exact posteriors of `training.curvature`.

Neighbours of a chain have a correlation rho in q, and their polynomials of degree j, Hermite's, have rho^j (Mehler's formula).
So the polynomials of each degree are a chain of their own.
"""

from typing import final

import torch
from torch import Tensor

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.guides import MarkovGuide
from pyro_popbias.models import RandomWalkPrior
from pyro_popbias.training.curvature import CellPosteriors

LARGEST = 0.999  # correlation of neighbours
STEP = "prior.log_step"  # which no cell tells about by itself


@final
class ChainPosteriors(CellPosteriors):
    """q of all cells of the items that have rows.

    Args:
        pair: a trained pair, whose periods depend on each other in the prior or in q.
    """

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self.scalars.pop(STEP, None)

    def _known(self, count: Tensor) -> Tensor:
        periods = self._pair.events.periods
        return (count.reshape(-1, periods).sum(1) > 0).repeat_interleave(periods)

    def _round(self) -> bool:
        u = self._mean + self._sd * self._node
        log_q = self._pair.guide.popularity.posterior(self.cell).log_prob(u if self._real else u.exp())
        self.weight = torch.softmax(log_q + (0.0 if self._real else u), dim=0)
        return True

    def _of_population(self, z: Tensor) -> Tensor:
        """Return the log density of z, `(n, D)`: in a walk that of first periods, and 0 elsewhere."""
        prior = self._pair.model.prior
        if not isinstance(prior, RandomWalkPrior):
            return super()._of_population(z)
        return prior.population().log_prob(z) * (self.cell % prior.periods == 0)

    @torch.no_grad()
    def neighbours(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the places of neighbours in a chain, and their correlations in q, `(P,)` each."""
        q, periods = self._pair.guide.popularity, self._pair.events.periods
        assert isinstance(q, MarkovGuide)  # noqa: S101  others have no such posterior
        chain, later = q.chain(self.cell), (self.cell % periods > 0).nonzero().squeeze(-1)
        ratio = (chain.variance_of_y[later - 1] / chain.variance_of_y[later]).sqrt()
        return later - 1, later, (chain.coupling[later] * ratio).clamp(-LARGEST, LARGEST)
