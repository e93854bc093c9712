"""How well draws of q represent the exact posterior: relative effective sample size, and Pareto k-hat.

k-hat is the shape of a generalised Pareto distribution fitted to the largest importance ratios (Vehtari et al., Pareto
smoothed importance sampling, JMLR 2024). It is scale-free: ratios that hardly vary may still have a heavy tail, and a
large k-hat then means nothing. So it is computed only where the relative effective sample size is low.
"""

import math

import numpy as np
import torch
from pyro.ops.stats import fit_generalized_pareto

ENOUGH = 0.9  # relative effective sample size from which k-hat is not needed
LEAST_TAIL = 5  # draws


def effective_share(log_ratio: np.ndarray) -> np.ndarray:
    """Return the relative effective sample size ESS / S, `(D,)`: (sum of w)^2 / (S times sum of w^2).

    Args:
        log_ratio: `(S, D)` log p - log q at draws of q, in nats.
    """
    weight = np.exp(log_ratio - log_ratio.max(0))
    return np.asarray(weight.sum(0) ** 2 / (len(weight) * (weight**2).sum(0)))


def k_hat(log_ratio: np.ndarray) -> float:
    """Return the shape of the upper tail of the importance ratios; NaN if the tail has too few draws.

    Args:
        log_ratio: `(S,)` log p - log q at draws of q, in nats.
    """
    number = len(log_ratio)
    tail = math.ceil(min(0.2 * number, 3 * math.sqrt(number)))
    weight = np.exp(np.sort(log_ratio) - log_ratio.max())
    threshold = weight[-tail - 1]
    above = weight[weight > threshold] - threshold
    if len(above) < LEAST_TAIL:
        return math.nan
    k, _ = fit_generalized_pareto(torch.from_numpy(above))
    return float(k)


def largest_k(draws: int) -> float:
    """Return the largest k-hat for which S draws suffice: min(1 - 1 / log10 S, 0.7)."""
    return min(1 - 1 / math.log10(draws), 0.7)
