"""Quantiles of distributions of popularity: torch's where available, else SciPy's. No gradients."""

import numpy as np
import torch
from pyro.distributions import Delta
from scipy import special
from torch import Tensor
from torch.distributions import Distribution, Gamma

from pyro_popbias.distributions.quadrature import grid


def quantile(distribution: Distribution, probability: float) -> Tensor:
    """Return the quantile of each distribution in the batch, in the shape of the batch.

    Args:
        distribution: any batch shape.
        probability: between 0 and 1.
    """
    with torch.no_grad():
        if isinstance(distribution, Delta):
            return distribution.v
        if not isinstance(distribution, Gamma):
            try:
                return distribution.icdf(
                    torch.as_tensor(probability, dtype=torch.float64, device=distribution.mean.device)
                )
            except NotImplementedError:
                return _by_nodes(distribution, probability)
        # torch has no Gamma quantile
        unit = special.gammaincinv(distribution.concentration.double().cpu().numpy(), probability)
        return torch.as_tensor(np.asarray(unit), device=distribution.rate.device) / distribution.rate


def _by_nodes(distribution: Distribution, probability: float) -> Tensor:
    """Return the quantile of positive distributions by their density alone, linear in log z between the nodes."""
    rule = grid(distribution, torch.ones_like(distribution.mean))
    below = torch.cumsum(rule.log_weight.exp(), dim=0)
    after = (below < probability * below[-1]).sum(0, keepdim=True).clamp(min=1, max=len(below) - 1)
    low, high = (below.gather(0, place) for place in (after - 1, after))
    share = (probability * below[-1:] - low) / (high - low).clamp(min=torch.finfo(low.dtype).tiny)
    # a cumulative sum of n weights reaches to the middle between nodes n and n + 1
    step = rule.log_z[1] - rule.log_z[0]
    return torch.exp(rule.log_z.gather(0, after - 1) + (share + 0.5) * step).squeeze(0)
