"""Which distribution of popularity the intervention P(c=1 | do(u,i)) = integral of P(c=1 | u,i,z) P(z) dz integrates over.

`population`: one distribution for all items, the do-intervention. `prior`: the item's own prior, which is the
population distribution unless counts gave each item a distribution. `posterior`: the item's q. Both are predictions
that keep the item's popularity in the score. `none`: the affinity alone.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.distributions import quantile
from pyro_popbias.errors import UnknownNameError
from pyro_popbias.models import AffinityDistribution, PopularityModel
from pyro_popbias.registry import nearest

Popularity = Literal["population", "prior", "posterior", "none"]
MODES: tuple[Popularity, ...] = ("population", "prior", "posterior", "none")


@dataclass(frozen=True)
class Scores:
    """P(c=1 | do(u,i)) and how far popularity moves it; all of the affinities' shape, probabilities.

    `sd` is the error bar from the affinity's posterior, None where the affinity is a point estimate.
    """

    score: Tensor
    lower: Tensor
    upper: Tensor
    sd: Tensor | None

    def where(self, replaced: Tensor, other: "Scores") -> "Scores":
        """Return these scores, and others where a mask says so."""
        sd = None if self.sd is None or other.sd is None else torch.where(replaced, other.sd, self.sd)
        return Scores(
            torch.where(replaced, other.score, self.score),
            torch.where(replaced, other.lower, self.lower),
            torch.where(replaced, other.upper, self.upper),
            sd,
        )


def check_mode(popularity: object) -> Popularity:
    """Return the mode, or refuse it.

    Raises:
        UnknownNameError: it is none of the modes.
    """
    for mode in MODES:
        if isinstance(popularity, str) and popularity == mode:
            return mode
    raise UnknownNameError(
        f"PB-C011: popularity={popularity!r} is not available{nearest(str(popularity), MODES)} Modes: {', '.join(MODES)}"
    )


def scores(
    model: PopularityModel,
    affinity: AffinityDistribution,
    distribution: Distribution | None,
    *,
    interval: float,
    cell_index: Tensor | None = None,
) -> Scores:
    """Return the intervention's probability and its values at the quantiles of popularity.

    P(c=1 | u,i,z) is monotone in z, so its quantiles are its values at the quantiles of z.

    Args:
        model: the model.
        affinity: distribution of logits, any shape.
        distribution: distribution of z, its batch broadcastable to the affinities; None is the affinity alone.
        interval: share of popularity's mass between lower and upper.
        cell_index: `(B,)` which distribution belongs to which affinity, where distributions are of distinct cells.
    """
    with torch.no_grad():
        if distribution is None:
            alone, sd = affinity.expect(model.affinity_score)
            return Scores(alone, alone, alone, sd)

        def at(probability: float) -> Tensor:
            z = quantile(distribution, probability)
            z = z if cell_index is None else z.index_select(0, cell_index)
            return affinity.expect(lambda x: model.conditional_probability(x, z))[0]

        tail = (1 - interval) / 2
        ends = at(tail), at(1 - tail)
        # a free slope may be negative: P then falls with z
        score, sd = affinity.expect(lambda x: model.marginal_probability(x, distribution, cell_index))
        return Scores(score, torch.minimum(*ends), torch.maximum(*ends), sd)
