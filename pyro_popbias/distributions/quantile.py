"""Quantiles of laws of popularity: torch's where it has them, scipy's elsewhere. No gradients."""

import numpy as np
import torch
from pyro.distributions import Delta
from scipy import special
from torch import Tensor
from torch.distributions import Distribution, Gamma


def quantile(law: Distribution, probability: float) -> Tensor:
    """Return the quantile of each law in the batch, shaped as the batch.

    Args:
        law: any batch shape.
        probability: between 0 and 1.
    """
    with torch.no_grad():
        if isinstance(law, Delta):
            return law.v
        if not isinstance(law, Gamma):
            return law.icdf(torch.as_tensor(probability, dtype=torch.float64, device=law.mean.device))
        # torch has no Gamma quantile
        unit = special.gammaincinv(law.concentration.double().cpu().numpy(), probability)
        return torch.as_tensor(np.asarray(unit), device=law.rate.device) / law.rate
