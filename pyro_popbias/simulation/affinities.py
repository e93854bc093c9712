"""The affinities of the simulation, all written as x_ui = u . i + b0 of some vectors.

* `embedding`, `fixed`: vectors of standard normal coordinates, scaled so that u . i has a standard deviation of
  about 1.
* `linear`: beta_user . a_u + beta_item . a_i, with four standard normal features a on each side.
* `factorization-machine`: P_u . Q_i + w . a_u + v . a_i + w_u, where P_u and Q_i are an id's vector plus those of its
  features, a category and a number. An item has no weight of its own: popularity would not be told apart from it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

BETA_USER = (0.5, -0.5, 0.3, 0.0)
BETA_ITEM = (0.4, -0.3, 0.2, 0.1)
LEVELS = 5  # of the category
ID_SHARE = 0.5  # of the variance of a vector; the features have the rest
WEIGHT_SCALE = 0.3
BLOCK = 500_000  # pairs at once


@dataclass(frozen=True, eq=False)
class SimulatedAffinity:
    """Vectors whose product is the affinity without b0, and what they were made of.

    Attributes:
        user_vectors: `(users, d)`.
        item_vectors: `(items, d)`.
        parameters: true values by name.
        user_features: `(users,)` rows of side features; None without.
        item_features: likewise.
    """

    user_vectors: np.ndarray
    item_vectors: np.ndarray
    parameters: dict[str, float]
    user_features: pd.DataFrame | None = None
    item_features: pd.DataFrame | None = None

    def pairs(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Return u . i of pairs of codes, `(N,)`."""
        product = np.empty(len(user))
        for start in range(0, len(user), BLOCK):
            part = slice(start, start + BLOCK)
            product[part] = (self.user_vectors[user[part]] * self.item_vectors[item[part]]).sum(1)
        return product


def _embedding(random: np.random.Generator, users: int, items: int, dim: int) -> SimulatedAffinity:
    user_vectors = random.normal(size=(users, dim))
    return SimulatedAffinity(user_vectors, random.normal(size=(items, dim)) / np.sqrt(dim), {})


def _linear(random: np.random.Generator, users: int, items: int, dim: int) -> SimulatedAffinity:
    features, terms = [], []
    parameters: dict[str, float] = {}
    for side, number, beta in (("user", users, BETA_USER), ("item", items, BETA_ITEM)):
        given = random.normal(size=(number, len(beta)))
        terms.append(given @ np.array(beta))
        features.append(pd.DataFrame(given, columns=[f"x{position}" for position in range(len(beta))]))
        parameters |= {f"beta_{side}[{position}]": value for position, value in enumerate(beta)}
    return SimulatedAffinity(*with_terms(terms[0], terms[1]), parameters, *features)


def with_terms(
    user_term: np.ndarray,
    item_term: np.ndarray,
    user_vectors: np.ndarray | None = None,
    item_vectors: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors whose product is u . i + user term + item term."""
    none = (np.empty((len(user_term), 0)), np.empty((len(item_term), 0)))
    left = (none[0] if user_vectors is None else user_vectors, user_term, np.ones(len(user_term)))
    right = (none[1] if item_vectors is None else item_vectors, np.ones(len(item_term)), item_term)
    return np.column_stack(left), np.column_stack(right)


def _factorization_machine(random: np.random.Generator, users: int, items: int, dim: int) -> SimulatedAffinity:
    user_vectors, user_term, user_parameters, user_features = _machine_side(random, "user", users, dim)
    item_vectors, item_term, item_parameters, item_features = _machine_side(random, "item", items, dim)
    user_term = user_term + WEIGHT_SCALE * random.normal(size=users)
    vectors = with_terms(user_term, item_term, user_vectors, item_vectors / np.sqrt(dim))
    return SimulatedAffinity(*vectors, user_parameters | item_parameters, user_features, item_features)


def _machine_side(
    random: np.random.Generator, side: str, rows: int, dim: int
) -> tuple[np.ndarray, np.ndarray, dict[str, float], pd.DataFrame]:
    """Return vectors `(rows, dim)` of unit variance, terms `(rows,)`, weights by name, and the features."""
    level, number = random.integers(LEVELS, size=rows), random.normal(size=rows)
    own, of_level, of_number = (random.normal(size=(count, dim)) for count in (rows, LEVELS, 1))
    weight = WEIGHT_SCALE * random.normal(size=LEVELS + 1)
    for of_levels in (of_level, weight[:LEVELS]):  # centred, or else they would move the level of all affinities
        of_levels -= of_levels.mean(0)
    of_features = (of_level[level] + number[:, None] * of_number) / np.sqrt(2)
    vectors = np.sqrt(ID_SHARE) * own + np.sqrt(1 - ID_SHARE) * of_features
    levels = [f"g{position}" for position in range(LEVELS)]
    names = [f"weight_{side}[{name}]" for name in (*(f"group={each}" for each in levels), "number")]
    features = pd.DataFrame({"group": np.array(levels, dtype=object)[level], "number": number})
    return vectors, weight[level] + weight[-1] * number, dict(zip(names, weight.tolist(), strict=True)), features


SIMULATED: dict[str, Callable[[np.random.Generator, int, int, int], SimulatedAffinity]] = {
    "embedding": _embedding,
    "fixed": _embedding,
    "linear": _linear,
    "factorization-machine": _factorization_machine,
}
