"""What counts of items say about popularity: its spread over items, and each item's own distribution.

Counts are of the positives of a log, or of the rows of another one. With D_k of item k and T = sum_k D_k / K,

    D_k ~ Poisson(T z_k), z_k ~ Gamma(a, a)    hence    z_k | D_k ~ Gamma(a + D_k, a + T).

Dividing by T fixes the gauge E[z] = 1: with a free rate b the maximum of the likelihood has a/b = 1 too.
"""

import math

import numpy as np
import torch
from pyro.distributions import Gamma, LogNormal
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

# of the search for a: beyond the last the distribution is a point to within a hundredth, and counts have no spread but
# Poisson's
LEAST_CONCENTRATION, MOST_CONCENTRATION = 1e-3, 1e4


def concentration(counts: np.ndarray) -> float:
    """Return a of the population distribution Gamma(a, a), by the maximum likelihood of counts, pooled over periods.

    Counts without more spread than Poisson noise have the largest a that is tried.

    Args:
        counts: `(K, T)` of each item in each period; every period has a mean of its own.
    """
    level = np.broadcast_to(counts.mean(axis=0), counts.shape)
    held = level > 0
    d, t = counts[held], level[held]

    def minus_log_likelihood(log_a: float) -> float:
        a = math.exp(log_a)
        # log p(D) = lgamma(D + a) - lgamma(a) + a log(a / (a + T)) + D log(1 / (a + T)) + what does not depend on a
        return -float((gammaln(d + a) - gammaln(a) - a * np.log1p(t / a) - d * np.log(a + t)).sum())

    bounds = math.log(LEAST_CONCENTRATION), math.log(MOST_CONCENTRATION)
    found = minimize_scalar(minus_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return math.exp(found.x)


def item_distributions(counts: np.ndarray, a: float, drift: float) -> Gamma:
    """Return the distribution of each item's popularity after its count, `(K,)`, whose means are 1 on average.

    Args:
        counts: `(K,)` of each item.
        a: concentration of the population distribution.
        drift: sd by which log popularity moves from the counts' time to the labels'. It caps the precision: the means
            stay, and the variance of log z is near 1/A + drift^2.
    """
    shape = torch.from_numpy(a + counts.astype(np.float64))
    rate = torch.as_tensor(a + counts.mean(), dtype=torch.float64)
    cap = 1 + drift**2 * shape
    return Gamma(shape / cap, rate / cap)


def shares(counts: np.ndarray) -> np.ndarray:
    """Return the share of each count in its period's sum, `(K, T)`; 0 in a period without any."""
    return counts / np.maximum(counts.sum(axis=0), 1)


def log_shares(counts: np.ndarray) -> np.ndarray:
    """Return log((D + 1/2) / T) of each count, `(K, T)`, with T the period's mean; 0 in a period without any."""
    level = counts.mean(axis=0)
    return np.where(level > 0, np.log((counts + 0.5) / np.where(level > 0, level, 1)), 0.0)


def located(location: np.ndarray) -> LogNormal:
    """Return LogNormal(location, 1) of every cell, `(K T,)`, for locations `(K, T)`."""
    loc = torch.from_numpy(location.reshape(-1))
    return LogNormal(loc, torch.ones_like(loc))


def information(location: np.ndarray) -> float:
    """Return the nats that LogNormal(location, 1) hold about popularity on average, by the spread of the locations.

    It is the capacity of a channel with this signal and noise of variance 1: log(1 + Var) / 2.
    """
    return 0.5 * math.log1p(location.var())
