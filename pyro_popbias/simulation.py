"""Simulated interactions with a known truth, drawn from a model."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from torch import Tensor
from torch.distributions import Gamma

from pyro_popbias.distributions import expectation, expected_inverse_logistic, expected_logistic
from pyro_popbias.errors import ConfigError, UnknownNameError
from pyro_popbias.interactions import Interactions
from pyro_popbias.models import ExponentialSaturation
from pyro_popbias.registry import nearest

AFFINITIES = ("embedding", "fixed")
TESTED = 10_000  # random pairs with the true probability


@dataclass(frozen=True)
class Likelihood:
    """A model's formulas, apart from its Pyro program.

    Attributes:
        intercept: b0.
        parameters: names of its own parameters, () or one.
        given: P(c=1 | x, z) of arrays and the parameter.
        probability: P(c=1 | do(u,i)) of logits, the population law and the parameter.
    """

    intercept: float
    parameters: tuple[str, ...]
    given: Callable[[np.ndarray, np.ndarray, float], np.ndarray]
    probability: Callable[[Tensor, Gamma, float], Tensor]


LIKELIHOODS = {
    "product": Likelihood(
        0.0,
        ("rate",),
        lambda x, z, rate: expit(x) * -np.expm1(-rate * z),
        lambda x, law, rate: torch.sigmoid(x) * expectation(ExponentialSaturation(rate), law),
    ),
    "additive": Likelihood(
        -1.0,
        ("gamma",),
        lambda x, z, gamma: expit(x + gamma * z),
        lambda x, law, gamma: expected_logistic(x, gamma, law),
    ),
    "inverse-logistic": Likelihood(
        0.0,
        (),
        lambda x, z, _: expit(x + np.log(z)),
        lambda x, law, _: expected_inverse_logistic(x, law),
    ),
}


@dataclass(frozen=True, eq=False)
class Simulation:
    """Interactions and the truth behind them.

    Attributes:
        events: the interactions.
        frame: the same, with columns user, item, label, and with a fixed affinity its score.
        truth: tables `popularity` (item, period, z), `parameters` (name, value), `user_vectors`, `item_vectors` (id, 0, 1, ...).
        test: random pairs: user, item, probability P(c=1 | do(u,i)), and with a fixed affinity its score.
    """

    events: Interactions
    frame: pd.DataFrame
    truth: dict[str, pd.DataFrame]
    test: pd.DataFrame


def simulate(
    model: str = "product",
    affinity: str = "embedding",
    *,
    users: int = 1_000,
    items: int = 500,
    interactions: int = 20_000,
    seed: int = 0,
    dim: int = 8,
    concentration: float = 2.0,
    rate: float = 1.0,
) -> Simulation:
    """Return interactions of a model with z ~ Gamma(a, a) and x = u . i + b0.

    | model | P(c=1 given u, i, z) | b0 |
    | --- | --- | --- |
    | product | sigma(x) (1 - exp(-rate z)) | 0 |
    | additive | sigma(x + rate z) | -1 |
    | inverse-logistic | sigma(x + log z) | 0 |

    Args:
        model: one of these.
        affinity: "embedding", or "fixed", which adds the affinity of each row as a column `score`.
        users: number of users.
        items: number of items; rows are uniform over users and items.
        interactions: number of rows.
        seed: decides everything.
        dim: length of the vectors; u . i has a standard deviation of about 1.
        concentration: a of the population law.
        rate: lambda of the saturation, or gamma, the additive model's slope.

    Raises:
        UnknownNameError: there is no such model or affinity here.
        ConfigError: a size is below 1.
    """
    for kind, name, names in (("model", model, tuple(LIKELIHOODS)), ("affinity", affinity, AFFINITIES)):
        if name not in names:
            raise UnknownNameError(f"PB-C076: unknown {kind} {name!r}{nearest(name, names)} Names: {', '.join(names)}")
    sizes = (users, items, interactions, dim)
    if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise ConfigError("PB-C084: users, items, interactions and dim must be whole numbers from 1")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"PB-C084: seed must be a whole number from 0, not {seed!r}")
    if not (0 < concentration < np.inf and 0 < rate < np.inf):
        raise ConfigError(
            f"PB-C083: concentration and rate must be above 0 and finite, not {concentration!r}, {rate!r}"
        )
    random = np.random.default_rng(seed)
    user_vectors = random.normal(size=(users, dim))
    item_vectors = random.normal(size=(items, dim)) / np.sqrt(dim)
    z = random.gamma(concentration, 1 / concentration, size=items)
    user, item = random.integers(users, size=interactions), random.integers(items, size=interactions)
    likelihood = LIKELIHOODS[model]
    logit = (user_vectors[user] * item_vectors[item]).sum(1) + likelihood.intercept
    label = random.random(interactions) < likelihood.given(logit, z[item], rate)
    user_ids, item_ids = _ids("u", users), _ids("i", items)
    frame = pd.DataFrame({"user": user_ids[user], "item": item_ids[item], "label": label.astype(np.int64)})
    # pairs of users and items that the data hold
    tested_user, tested_item = random.choice(user, TESTED), random.choice(item, TESTED)
    tested_logit = (user_vectors[tested_user] * item_vectors[tested_item]).sum(1) + likelihood.intercept
    law = Gamma(*torch.full((2, 1), concentration, dtype=torch.float64))
    test = pd.DataFrame({"user": user_ids[tested_user], "item": item_ids[tested_item]})
    test["probability"] = likelihood.probability(torch.from_numpy(tested_logit), law, rate).numpy()
    if affinity == "fixed":
        frame["score"], test["score"] = logit, tested_logit
    truth = {
        "popularity": pd.DataFrame({"item": item_ids, "period": 0, "z": z}),
        "parameters": pd.DataFrame(
            {
                "name": ["intercept", "concentration", *likelihood.parameters],
                "value": [likelihood.intercept, concentration, *[rate] * len(likelihood.parameters)],
            }
        ),
        "user_vectors": _vector_frame(user_ids, user_vectors),
        "item_vectors": _vector_frame(item_ids, item_vectors),
    }
    return Simulation(Interactions.from_frame(frame, label="label"), frame, truth, test)


def _ids(letter: str, number: int) -> np.ndarray:
    return np.array([f"{letter}{code}" for code in range(number)], dtype=object)


def _vector_frame(ids: np.ndarray, vectors: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame(vectors, columns=[str(column) for column in range(vectors.shape[1])])
    frame.insert(0, "id", ids)
    return frame
