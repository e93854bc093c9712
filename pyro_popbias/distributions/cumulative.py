"""Cumulative probabilities of distributions of popularity: torch's where available. No gradients."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.distributions.quadrature import grid


def cumulative(distribution: Distribution, value: Tensor) -> Tensor:
    """Return P(z <= value) of each distribution in the batch, `(D,)` probabilities.

    Args:
        distribution: `(D,)`; positive, where torch has no cumulative probabilities of its family.
        value: `(D,)`.
    """
    with torch.no_grad():
        try:
            return distribution.cdf(value)
        except NotImplementedError:
            return _by_nodes(distribution, value)


def _by_nodes(distribution: Distribution, value: Tensor) -> Tensor:
    """Return cumulative probabilities of positive distributions by their density alone, linear in log z between the nodes."""
    rule = grid(distribution, torch.ones_like(distribution.mean))
    below = torch.cumsum(rule.log_weight.exp(), dim=0)
    step = rule.log_z[1] - rule.log_z[0]
    # a cumulative sum of n weights reaches to the middle between nodes n and n + 1
    place = ((value.log() - rule.log_z[0]) / step - 0.5).clamp(0, len(below) - 1)
    k = place.long().clamp(max=len(below) - 2).unsqueeze(0)
    low, high = below.gather(0, k)[0], below.gather(0, k + 1)[0]
    return (low + (place - k[0]) * (high - low)) / below[-1]
