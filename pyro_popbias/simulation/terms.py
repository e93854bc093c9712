"""Terms of single items and users that the simulation adds to an affinity: x_ui = u . i + b_i + w_u + b0.

The quality b_i = q (rho s_i + sqrt(1 - rho^2) e_i) of an item has the standard deviation q, and the correlation rho with its
popularity: s_i is its normal score, and e_i a standard normal number of its own. The bias w_u of a user is normal. Rows are of
users in proportion to their activity, which is lognormal, over its mean.
"""

from dataclasses import dataclass, replace

import numpy as np

from pyro_popbias.simulation.affinities import SimulatedAffinity, with_terms


@dataclass(frozen=True, eq=False)
class Terms:
    """What is added to the affinities of single items and users.

    Attributes:
        quality: `(items,)` b_i.
        bias: `(users,)` w_u.
        activity: `(users,)` the share of rows that each user has, in shares of an even split.
    """

    quality: np.ndarray
    bias: np.ndarray
    activity: np.ndarray

    def draw_users(self, random: np.random.Generator, rows: int) -> np.ndarray:
        """Return codes of the users of some rows, `(rows,)`."""
        users = len(self.activity)
        if (self.activity == 1).all():
            return random.integers(users, size=rows)
        return random.choice(users, size=rows, p=self.activity / self.activity.sum())

    def added_to(self, affinity: SimulatedAffinity) -> SimulatedAffinity:
        """Return an affinity with w_u and b_i in two further coordinates of its vectors, or as it is if all are 0."""
        if not self.quality.any() and not self.bias.any():
            return affinity
        users, items = with_terms(self.bias, self.quality, affinity.user_vectors, affinity.item_vectors)
        return replace(affinity, user_vectors=users, item_vectors=items)


def draw_quality(random: np.random.Generator, score: np.ndarray, *, sd: float, correlation: float) -> np.ndarray:
    """Return b_i of items, `(items,)`.

    Args:
        random: randomness.
        score: `(items,)` standard normal scores of their popularity.
        sd: standard deviation of b_i.
        correlation: of b_i and the score.
    """
    if sd == 0:
        return np.zeros(len(score))
    own = random.normal(size=len(score))
    return np.asarray(sd * (correlation * score + np.sqrt(1 - correlation**2) * own))


def draw_bias(random: np.random.Generator, users: int, *, sd: float) -> np.ndarray:
    """Return w_u of users, `(users,)`."""
    return sd * random.normal(size=users) if sd > 0 else np.zeros(users)


def draw_activity(random: np.random.Generator, users: int, *, sd: float) -> np.ndarray:
    """Return the activity of users, `(users,)`, whose logarithm has a standard deviation."""
    if sd == 0:
        return np.ones(users)
    log_activity = sd * random.normal(size=users)
    found = np.exp(log_activity - log_activity.max())  # of any sd without overflow
    return np.asarray(found / found.mean())
