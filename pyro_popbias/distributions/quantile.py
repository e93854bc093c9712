"""Quantiles of distributions of popularity: torch's where available, else SciPy's. No gradients."""

import numpy as np
import torch
from pyro.distributions import Delta
from scipy import special
from torch import Tensor
from torch.distributions import Distribution, Gamma


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
            return distribution.icdf(torch.as_tensor(probability, dtype=torch.float64, device=distribution.mean.device))
        # torch has no Gamma quantile
        unit = special.gammaincinv(distribution.concentration.double().cpu().numpy(), probability)
        return torch.as_tensor(np.asarray(unit), device=distribution.rate.device) / distribution.rate
