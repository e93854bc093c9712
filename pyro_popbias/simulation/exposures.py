"""How often the simulation shows items.

The cells of one period are shown in proportion to z^exposure G, with an independent G ~ Gamma(r, r) of each cell where a
dispersion r is given, and else with G = 1. So the count of a cell with mean mu is negative binomial and has the variance
mu + mu^2 / r, or is Poisson, up to the number of rows of the period being what was asked for.
"""

import numpy as np

from pyro_popbias.simulation.populations import PopulationDistribution

LEAST = 1e-300  # dispersion: below it one cell of a period has all rows, and logarithms overflow


def log_weights(
    random: np.random.Generator,
    distribution: PopulationDistribution,
    z: np.ndarray,
    *,
    exposure: float,
    dispersion: float | None,
) -> np.ndarray | None:
    """Return logarithms of what items are shown in proportion to, `(items, periods)`; None if all are shown alike.

    Args:
        random: randomness of the Gamma factors.
        distribution: the population distribution, which says what exposure is a power of.
        z: `(items, periods)`.
        exposure: the power.
        dispersion: r of the Gamma factors; None without.
    """
    if exposure == 0 and dispersion is None:
        return None
    weight = exposure * distribution.log(z) if exposure else np.zeros(z.shape)
    return weight if dispersion is None else weight + _log_gamma(random, max(dispersion, LEAST), z.shape)


def _log_gamma(random: np.random.Generator, r: float, shape: tuple[int, ...]) -> np.ndarray:
    # Gamma(r) is Gamma(r + 1) U^(1/r); draws of a small r round to 0, their logarithms do not
    return np.asarray(np.log(random.gamma(r + 1, size=shape)) - random.exponential(size=shape) / r - np.log(r))
