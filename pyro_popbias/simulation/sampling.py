"""Rows of a simulated world: items shown and labelled, or chosen among all."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pyro_popbias.errors import ConfigError
from pyro_popbias.simulation.affinities import SimulatedAffinity
from pyro_popbias.simulation.likelihoods import Likelihood
from pyro_popbias.simulation.populations import PopulationDistribution
from pyro_popbias.simulation.terms import Terms

SCORES = 2_000_000  # held at once where items are chosen among all

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]  # user, item, period, label


@dataclass(frozen=True, eq=False)
class Truth:
    """A world to draw rows from.

    Attributes:
        likelihood: the model's formulas.
        distribution: the population distribution.
        vectors: whose product u . i is the affinity without b0 and the terms of single items and users.
        terms: these terms.
        z: `(items, periods)`.
        concentration: a of the population distribution.
        rate: the model's own parameter.
        shown: logarithms of what items are shown in proportion to within a period, `(items, periods)`; None if all are
            shown alike.
        drift: standard deviation of the steps of a random walk; None where z is no walk.
    """

    likelihood: Likelihood
    distribution: PopulationDistribution
    vectors: SimulatedAffinity
    terms: Terms
    z: np.ndarray
    concentration: float
    rate: float
    shown: np.ndarray | None
    drift: float | None = None

    @cached_property
    def affinity(self) -> SimulatedAffinity:
        """Vectors whose product is the affinity without b0."""
        return self.terms.added_to(self.vectors)

    def logits(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Return x_ui of pairs of codes, `(N,)`."""
        return self.affinity.pairs(user, item) + self.likelihood.intercept

    def given(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Return P(c=1 | x, z), or the score, of arrays that broadcast."""
        with np.errstate(over="ignore"):  # of a large rate; the formulas have the right limit
            return self.likelihood.given(x, z, self.rate)


def shown_rows(truth: Truth, random: np.random.Generator, rows: int) -> Rows:
    """Return rows of users by their activity with items shown by their weights, and whether each was positive."""
    items, periods = truth.z.shape
    user = truth.terms.draw_users(random, rows)
    if truth.shown is None:
        cell = random.integers(items * periods, size=rows)
    else:
        weight = np.exp(truth.shown - truth.shown.max(0))
        cell = random.choice(items * periods, size=rows, p=(weight / weight.sum(0) / periods).ravel())
    item, period = np.divmod(cell, periods)
    probability = truth.given(truth.logits(user, item), truth.z[item, period])
    return user, item, period, random.random(rows) < probability


def chosen_rows(truth: Truth, random: np.random.Generator, rows: int) -> Rows:
    """Return rows of users by their activity and uniform periods with an item chosen in proportion to exp(score)."""
    items, periods = truth.z.shape
    user = truth.terms.draw_users(random, rows)
    period = random.integers(periods, size=rows)
    item = np.empty(rows, dtype=np.int64)
    order = np.lexsort((user, period))
    choosers = max(SCORES // items, 1)
    for now in range(periods):
        sorted_rows = order[np.searchsorted(period[order], now) : np.searchsorted(period[order], now, side="right")]
        for start in range(0, len(truth.affinity.user_vectors), choosers):
            first, last = np.searchsorted(user[sorted_rows], (start, start + choosers))
            part = sorted_rows[first:last]
            item[part] = _choices(truth, random, user[part], now)
    return user, item, period, None


def _choices(truth: Truth, random: np.random.Generator, user: np.ndarray, period: int) -> np.ndarray:
    """Return an item for each of some users, given in order and repeated."""
    distinct, row = np.unique(user, return_inverse=True)
    x = truth.affinity.user_vectors[distinct] @ truth.affinity.item_vectors.T + truth.likelihood.intercept
    score = truth.given(x, truth.z[:, period])
    if not np.isfinite(score).all():
        raise ConfigError(f"PB-C083: rate={truth.rate!r} makes scores that are not finite; use a smaller one")
    score -= score.max(1, keepdims=True)
    share = np.cumsum(np.exp(score, out=score), axis=1)
    share /= share[:, -1:]
    # row k of the shares, moved to (k, k + 1]: one search finds the items of all rows
    share += np.arange(len(distinct))[:, None]
    found = np.searchsorted(share.ravel(), row + random.random(len(row)), side="right")
    return np.minimum(found - row * share.shape[1], share.shape[1] - 1)
