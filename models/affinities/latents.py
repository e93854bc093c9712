"""The latent sites of affinities, as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Normal


@dataclass(frozen=True)
class AffinityLatent:
    """Bayesian weights of an affinity: one site.

    Attributes:
        plate: "users" or "items" where there is a row for each, None for global weights.
        start: `(rows, dim)` or `(dim,)`, where q's means start.
        scale: standard deviation of the prior, or its start where it is learned.
        names: `(dim,)` names of the features of global weights; empty for rows.
        of_affinity: whether x_ui depends on them, so that they are not drawn where x_ui is known.
    """

    plate: Literal["users", "items"] | None
    start: Tensor
    scale: float
    names: tuple[str, ...] = ()
    of_affinity: bool = True


Weights = Mapping[str, Normal]  # q of each site of an affinity, whole tables


def centred(weights: Weights, log_scale: Callable[[str], Tensor]) -> Weights:
    """Return Normal priors around 0, in the shapes of q.

    Args:
        weights: q of each site, whole tables.
        log_scale: from a site to the logarithm of its prior's scale.
    """
    return {
        site: Normal(torch.zeros_like(q.loc), log_scale(site).exp().to(q.loc).expand_as(q.loc), validate_args=False)
        for site, q in weights.items()
    }
