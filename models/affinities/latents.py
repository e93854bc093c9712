"""The latent sites of affinities, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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
    """

    plate: Literal["users", "items"] | None
    start: Tensor
    scale: float
    names: tuple[str, ...] = ()


Weights = Mapping[str, Normal]  # q of each site of an affinity, whole tables
