"""Population distributions for the simulation, by the formulas of the priors; on the positive numbers E[z] = 1.

| distribution | z | Var z |
| --- | --- | --- |
| gamma | Gamma(a, a) | 1/a |
| lognormal | LogNormal(-s^2/2, s), s^2 = log(1 + 1/a) | 1/a |
| weibull | Weibull(1 / Gamma(1 + 1/k), k) with k of a | 1/a |
| exponential | Exponential(1) | 1 |
| normal | N(0, 1) | 1 |
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gamma, gammainc, gammaincinv, log_ndtr, ndtr, ndtri
from torch.distributions import Distribution, Exponential, Gamma, LogNormal, Normal, Weibull

from pyro_popbias.models.priors.weibull import log_shape
from pyro_popbias.simulation.arguments import Numbers

KEPT = 0.95  # correlation of the normal scores of z in neighbouring periods
SMALLEST = float(np.finfo(np.float64).tiny)  # draws of a distribution with a small concentration round to 0


@dataclass(frozen=True)
class PopulationDistribution:
    """The distribution of z that all cells share.

    Attributes:
        parameters: names of its parameters, () or one.
        draw: z of a generator, the concentration and a number of items.
        score: normal scores of z: standard normal where z has the distribution.
        value: the inverse.
        log: the logarithm of z, or z itself where it may be negative: exposure is exponential in it.
        distribution: the same distribution for the integrals, from the concentration.
    """

    parameters: tuple[str, ...]
    draw: Callable[[np.random.Generator, float, int], np.ndarray]
    score: Callable[[np.ndarray, float], np.ndarray]
    value: Callable[[np.ndarray, float], np.ndarray]
    log: Callable[[np.ndarray], np.ndarray]
    distribution: Callable[[float], Distribution]


def _distribution(family: Callable[..., Distribution], *numbers: float) -> Distribution:
    return family(*(torch.tensor([number], dtype=torch.float64) for number in numbers))


def _clipped(probability: np.ndarray) -> np.ndarray:
    """Return normal scores of probabilities, finite at 0 and 1 too."""
    return np.asarray(ndtri(np.clip(probability, 1e-12, 1 - 1e-12)))


def _normal_of_log(a: float) -> tuple[float, float]:
    """Return mean and standard deviation of log z of the LogNormal distribution."""
    variance = float(np.log1p(1 / a))
    return -0.5 * variance, float(np.sqrt(variance))


def _log_normal_value(score: np.ndarray, a: float) -> np.ndarray:
    mean, sd = _normal_of_log(a)
    return np.maximum(np.exp(mean + sd * score), SMALLEST)


def _weibull(a: float) -> tuple[float, float]:
    """Return scale and shape of the Weibull distribution."""
    shape = float(log_shape(torch.log(torch.tensor(a, dtype=torch.float64))).exp())
    return float(1 / gamma(1 + 1 / shape)), shape


def _weibull_score(z: np.ndarray, scale: float, shape: float) -> np.ndarray:
    return _clipped(-np.expm1(-((z / scale) ** shape)))


def _weibull_value(score: np.ndarray, scale: float, shape: float) -> np.ndarray:
    # -log(1 - Phi(score)) is the exponential variable
    return np.maximum(scale * (-log_ndtr(-score)) ** (1 / shape), SMALLEST)


DISTRIBUTIONS = {
    "gamma": PopulationDistribution(
        ("concentration",),
        lambda random, a, items: np.maximum(random.gamma(a, 1 / a, size=items), SMALLEST),
        lambda z, a: _clipped(gammainc(a, a * z)),
        lambda score, a: np.maximum(gammaincinv(a, ndtr(score)) / a, SMALLEST),
        np.log,
        lambda a: _distribution(Gamma, a, a),
    ),
    "lognormal": PopulationDistribution(
        ("concentration",),
        lambda random, a, items: _log_normal_value(random.normal(size=items), a),
        lambda z, a: (np.log(z) - _normal_of_log(a)[0]) / _normal_of_log(a)[1],
        _log_normal_value,
        np.log,
        lambda a: _distribution(LogNormal, *_normal_of_log(a)),
    ),
    "weibull": PopulationDistribution(
        ("concentration",),
        lambda random, a, items: _weibull_value(random.normal(size=items), *_weibull(a)),
        lambda z, a: _weibull_score(z, *_weibull(a)),
        lambda score, a: _weibull_value(score, *_weibull(a)),
        np.log,
        lambda a: _distribution(Weibull, *_weibull(a)),
    ),
    "exponential": PopulationDistribution(
        (),
        lambda random, _, items: _weibull_value(random.normal(size=items), 1.0, 1.0),
        lambda z, _: _weibull_score(z, 1.0, 1.0),
        lambda score, _: _weibull_value(score, 1.0, 1.0),
        np.log,
        lambda _: _distribution(Exponential, 1.0),
    ),
    "normal": PopulationDistribution(
        (),
        lambda random, _, items: random.normal(size=items),
        lambda z, _: z,
        lambda score, _: score,
        lambda z: z,
        lambda _: _distribution(Normal, 0.0, 1.0),
    ),
}


def draw_popularity(
    distribution: PopulationDistribution,
    random: np.random.Generator,
    numbers: Numbers,
    *,
    items: int,
    periods: int,
    feature: np.ndarray | None = None,
) -> np.ndarray:
    """Return z `(items, periods)`: every cell has the population distribution, and neighbouring periods are alike.

    Args:
        distribution: the population distribution.
        random: randomness.
        numbers: the concentration a of the distribution; and the drift, the standard deviation of a random walk's step of log z,
            or of z where it may be negative, after a first period with the population distribution, or None, which keeps that
            distribution in every period.
        items: K.
        periods: T.
        feature: `(items,)` standard normal numbers with which the normal scores of z have the correlation
            `numbers.confounding`; None where they have none. Under a drift this holds for the first period.
    """
    concentration, drift = numbers.concentration, numbers.drift
    columns = [distribution.draw(random, concentration, items)]
    if drift is not None:
        columns = [_leaning(distribution, columns[0], numbers, feature)]
        walk = np.cumsum(drift * random.normal(size=(items, periods - 1)), axis=1)
        moved = np.concatenate([np.zeros((items, 1)), walk], axis=1)
        first = columns[0][:, None]
        return np.maximum(first * np.exp(moved), SMALLEST) if distribution.log is np.log else first + moved
    score = distribution.score(columns[0], concentration)
    for _ in range(1, periods):
        # a stationary walk of the normal scores leaves the distribution of z as it is
        score = KEPT * score + np.sqrt(1 - KEPT**2) * random.normal(size=items)
        columns.append(distribution.value(score, concentration))
    return _leaning(distribution, np.stack(columns, axis=1), numbers, feature)


def _leaning(
    distribution: PopulationDistribution, z: np.ndarray, numbers: Numbers, feature: np.ndarray | None
) -> np.ndarray:
    """Return z `(items, ...)` whose normal scores have a correlation with a feature, of the same distribution as before."""
    if feature is None:
        return z
    rho, score = numbers.confounding, distribution.score(z, numbers.concentration)
    feature = feature.reshape(-1, *(1,) * (z.ndim - 1))
    return distribution.value(rho * feature + np.sqrt(1 - rho**2) * score, numbers.concentration)


def item_scores(distribution: PopulationDistribution, z: np.ndarray, numbers: Numbers) -> np.ndarray:
    """Return how popular items are over all periods, `(items,)`, as standard normal numbers.

    They are the means of the items' normal scores, divided by the standard deviation that the walk gives these means,
    and not by that of the items at hand: so they are independent between items.

    Args:
        distribution: the population distribution.
        z: `(items, periods)` as drawn from it.
        numbers: the concentration a of the distribution, and the correlation of z with a feature.
    """
    periods = z.shape[1]
    lag = np.arange(1, periods)
    # Var(sum over periods) = T + 2 sum_k (T - k) kept^k
    variance = periods + 2 * ((periods - lag) * KEPT**lag).sum()
    # what a feature adds to the scores is the same in all periods
    variance += numbers.confounding**2 * (periods**2 - variance)
    return np.asarray(distribution.score(z, numbers.concentration).sum(1) / np.sqrt(variance))
