"""Which law of popularity the intervention P(c=1 | do(u,i)) = integral of P(c=1 | u,i,z) P(z) dz integrates over.

`population`: one law for all items, the do-intervention. `posterior`: the item's q, a prediction that keeps the item's
popularity in the score. `none`: the affinity alone.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.distributions import quantile
from pyro_popbias.errors import UnknownNameError
from pyro_popbias.models import PopularityModel
from pyro_popbias.registry import nearest

Popularity = Literal["population", "posterior", "none"]
MODES: tuple[Popularity, ...] = ("population", "posterior", "none")


@dataclass(frozen=True)
class Scores:
    """P(c=1 | do(u,i)) and how far popularity moves it; all of the affinities' shape, probabilities."""

    score: Tensor
    lower: Tensor
    upper: Tensor


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
    model: PopularityModel, affinity: Tensor, law: Distribution | None, *, interval: float, slot: Tensor | None = None
) -> Scores:
    """Return the intervention's probability and its values at the quantiles of popularity.

    P(c=1 | u,i,z) is monotone in z, so its quantiles are its values at the quantiles of z.

    Args:
        model: the model.
        affinity: logits, any shape.
        law: law of z, its batch broadcastable to the affinities; None is the affinity alone.
        interval: share of popularity's mass between lower and upper.
        slot: `(B,)` which law belongs to which affinity, where laws are of distinct cells.
    """
    with torch.no_grad():
        if law is None:
            alone = torch.sigmoid(affinity)
            return Scores(alone, alone, alone)

        def at(probability: float) -> Tensor:
            z = quantile(law, probability)
            return model.given(affinity, z if slot is None else z.index_select(0, slot))

        tail = (1 - interval) / 2
        ends = at(tail), at(1 - tail)
        # a free slope may be negative: P then falls with z
        return Scores(model.probability(affinity, law, slot), torch.minimum(*ends), torch.maximum(*ends))
