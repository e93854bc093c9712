"""Calibrated scores of users with all items, for their order: P(c=1 | x) differs from user to user by w.

In models whose log odds are x plus a term of popularity it is the same function of x - log w. In others w is in the integral over
z; that of `product` depends on x and w by one number, so that it is tabulated once for each distribution of z.
"""

from collections.abc import Callable, Iterable
from functools import partial, reduce
from typing import final

import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.distributions.saturated_odds import expected_odds
from pyro_popbias.distributions.selection import flat
from pyro_popbias.models import AffinityDistribution, PopularityModel, Product
from pyro_popbias.prediction.best_expectations import expected
from pyro_popbias.prediction.calibrated_probability import from_odds, integral, recalibrated
from pyro_popbias.prediction.tabulated import TabulatedByUser

OfRows = Callable[[Tensor, Tensor], Tensor]  # from rows of users `(n,)` and logits `(n, ...)` to scores
OfTable = Callable[[AffinityDistribution], Tensor]  # from affinities of users with all items `(U, K)`
OfUsers = Callable[[Tensor], OfRows]  # from codes of users `(U,)`


@final
class CalibratedMarginal:
    """P(c=1 | x) with z integrated over, for logits whose last dimension is that of the distributions.

    Args:
        model: the model.
        distribution: `(K,)` of the z of each item, or one for all items.
        like: a tensor of the dtype and device of the affinities.
    """

    def __init__(self, model: PopularityModel, distribution: Distribution, like: Tensor) -> None:
        self._model, self._distribution = model, distribution
        z = flat(distribution.expand(distribution.batch_shape))
        self._row = torch.arange(z.batch_shape.numel(), device=like.device)
        self._odds: TabulatedByUser | None = None
        if isinstance(model, Product):
            saturation = model.saturation

            def odds(row: Tensor, y: Tensor) -> Tensor:
                cell = row.unsqueeze(1).expand_as(y).reshape(-1)
                return expected_odds(saturation, y.reshape(-1), z, cell_index=cell).reshape(y.shape)

            self._odds = TabulatedByUser(odds, len(self._row), like)

    def __call__(self, x: Tensor, *, log_weight: Tensor) -> Tensor:
        """Return the probabilities of logits `(..., K)`, or of any shape where all items share a distribution.

        Args:
            x: logits.
            log_weight: log w, broadcastable to them.
        """
        log_w = log_weight.expand_as(x)
        if self._odds is None:
            return integral(self._model, x, log_w, self._distribution)
        return from_odds(x, log_w, self._tabulated)

    def _tabulated(self, y: Tensor) -> Tensor:
        assert self._odds is not None  # noqa: S101  the caller has looked
        if len(self._row) == 1:
            return self._odds(self._row, y.reshape(1, -1)).reshape(y.shape)
        by_item = y.movedim(-1, 0)
        return self._odds(self._row, by_item).movedim(0, -1)


def own_scores(model: PopularityModel, popularity: Iterable[tuple[Tensor, Distribution]], like: Tensor) -> OfTable:
    """Return what takes affinities `(U, K)` with their w to scores.

    Args:
        model: a model with w in its integrals.
        popularity: distributions of all items, each with the items `(K,)` that it is for; the later ones replace.
        like: a tensor of the dtype and device of the affinities.
    """
    parts = [(items, CalibratedMarginal(model, distribution, like)) for items, distribution in popularity]

    def of(affinity: AffinityDistribution) -> Tensor:
        log_w = affinity.log_weight
        assert log_w is not None  # noqa: S101  the caller has put it there
        found, *others = (
            (items, expected(affinity, partial(probability, log_weight=log_w))) for items, probability in parts
        )
        return reduce(lambda own, other: torch.where(other[0], other[1], own), others, found[1])

    return of


def shifted(of_users: OfUsers, log_weight: Tensor) -> OfUsers:
    """Return scores by user at x - log w.

    Args:
        of_users: scores by user that are not calibrated.
        log_weight: log w by user code.
    """

    def calibrated(user: Tensor) -> OfRows:
        plain, log_w = of_users(user), log_weight[user]
        return lambda row, x: plain(row, x - beside(log_w[row], x))

    return calibrated


def with_weight(model: PopularityModel, given: Callable[[Tensor], Tensor] | None, log_weight: Tensor) -> OfUsers:
    """Return scores by user of a model with w in its integrals, under one popularity for all items.

    Args:
        model: the model.
        given: P(c=1 | x, z) at a given z, as a function of x; None integrates over the population.
        log_weight: log w by user code.
    """
    population = model.prior.population()
    probability = _at_given(given) if given else CalibratedMarginal(model, population, population.mean)

    def calibrated(user: Tensor) -> OfRows:
        log_w = log_weight[user]
        return lambda row, x: probability(x, log_weight=beside(log_w[row], x))

    return calibrated


def _at_given(probability: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda x, log_weight: recalibrated(probability(x), log_weight)


def beside(of_row: Tensor, x: Tensor) -> Tensor:
    """Return a number of each row, `(n,)`, in a shape that broadcasts with logits `(n, ...)`."""
    return of_row.reshape(-1, *[1] * (x.dim() - 1))
