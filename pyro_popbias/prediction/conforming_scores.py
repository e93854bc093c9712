"""Scores with all items of users who differ in conformity, under one popularity for all items: tabulated by user."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pyro_popbias.models import AffinityDistribution, PopularityModel
from pyro_popbias.models.affinities.distribution import Deviation
from pyro_popbias.models.affinities.latents import Weights
from pyro_popbias.prediction.best_expectations import expected
from pyro_popbias.prediction.do_value import DoValue
from pyro_popbias.prediction.intervention import Popularity, probability_at
from pyro_popbias.prediction.tabulated import USER_NODES, TabulatedByUser


@dataclass(frozen=True)
class ConformingScores:
    """P(c=1 | do(u,i)) of such users, as functions of x.

    Attributes:
        model: the trained model.
        popularity: a number, or else the population distribution.
    """

    model: PopularityModel
    popularity: Popularity

    def of_table(self, affinity: AffinityDistribution) -> Tensor:
        """Return the scores of affinities of users with all items, `(U, K)`, under the population distribution."""
        users, items = affinity.mean.shape
        if items <= USER_NODES:
            return self.model.mean_probability(affinity, self.model.prior.population())
        assert affinity.conformity is not None  # noqa: S101  the caller has looked
        of_users = TabulatedByUser(partial(self._at, affinity.conformity), users, affinity.mean)
        return expected(affinity, partial(of_users, torch.arange(users, device=affinity.mean.device)))

    def by_user(self, user: Tensor, *, weights: Weights) -> TabulatedByUser:
        """Return the scores of users `(U,)` as functions of x.

        Args:
            user: codes.
            weights: q of each site, whole tables.
        """
        nothing = torch.zeros(len(user), 1, dtype=torch.float64, device=user.device)
        affinity = self.model.conforming(AffinityDistribution(nothing), user, weights)
        assert affinity.conformity is not None  # noqa: S101  the caller has looked
        return TabulatedByUser(partial(self._at, affinity.conformity), len(user), nothing)

    def _at(self, conformity: Deviation, row: Tensor, x: Tensor) -> Tensor:
        """Return scores at known affinities `(n, M)`, of users in rows `(n,)` of d_u."""
        own = Deviation(conformity.mean.index_select(0, row), conformity.variance.index_select(0, row))
        affinity = AffinityDistribution(x, conformity=own)
        if isinstance(self.popularity, DoValue):
            return probability_at(self.model, affinity, x.new_tensor(self.popularity.value))
        return self.model.mean_probability(affinity, self.model.prior.population())
