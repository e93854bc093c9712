"""What one replicate is drawn from: a model, a distribution of popularity, and the affinities."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from pyro_popbias.checks.replicated_data import ReplicatedData
from pyro_popbias.models import PopularityModel
from pyro_popbias.models.affinities.latents import Weights


@dataclass(frozen=True)
class ReplicateSource:
    """The model and distributions that one replicate is drawn from.

    Attributes:
        model: model with the parameters of the replicate.
        distribution: maps cells to their distributions of z.
        weights: draws of the affinity's sample sites, as Normals of scale 0; empty for point affinities.
        affinity: `(N,)` x_ui of every row; None where it differs between replicates.
    """

    model: PopularityModel
    distribution: Callable[[Tensor], Distribution]
    weights: Weights
    affinity: Tensor | None = None

    def affinity_of(self, rows: ReplicatedData, block: slice, z: Tensor | None = None) -> Tensor:
        """Return x_ui of a block of rows, `(B,)`, with d_u t(z) where users differ in conformity.

        Args:
            rows: the rows.
            block: which of them.
            z: `(B,)` their popularity.
        """
        if self.affinity is not None:
            return self.affinity[block]
        codes = rows.user[block], rows.item[block]
        found = self.model.pairs(*codes, rows.score_of(block), self.weights)
        return found.mean if found.conformity is None or z is None else found.given(self.model.logit_term(z)).mean


def drawn(weights: Weights) -> dict[str, Normal]:
    """Return one draw of each sample site of an affinity, as a Normal of scale 0."""
    draws = {site: distribution.sample() for site, distribution in weights.items()}
    return {site: Normal(draw, torch.zeros_like(draw), validate_args=False) for site, draw in draws.items()}
