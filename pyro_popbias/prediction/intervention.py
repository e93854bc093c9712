"""P(c=1 | do(u,i)) = integral of P(c=1 | u,i,z) P(z) dz, under a distribution or a given value of popularity z.

| popularity | P(z) |
| --- | --- |
| `population` | one distribution for all items: the do-intervention |
| `prior` | the item's own prior; the population distribution unless counts gave each item its own |
| `posterior` | the item's q in its last period with rows |
| `none` | no popularity: the affinity alone |
| a number, or a value per item | do(z = value): see `do_value` |

`prior` and `posterior` keep the item's popularity in the score.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import shorten
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.distributions import quantile
from pyro_popbias.errors import UnknownNameError
from pyro_popbias.models import AffinityDistribution, PopularityModel
from pyro_popbias.prediction.do_value import DoValue, read_do_value
from pyro_popbias.registry import nearest

Mode = Literal["population", "prior", "posterior", "none"]
Popularity = Mode | DoValue
MODES: tuple[Mode, ...] = ("population", "prior", "posterior", "none")
MOST_SHOWN = 60  # characters of a value in a message


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


def read_popularity(popularity: object, support: constraints.Constraint) -> Popularity:
    """Return what `popularity=` asks for, or refuse it.

    Args:
        popularity: the name of a mode, a number, or a mapping from item to number.
        support: where the model's popularity lives.

    Raises:
        UnknownNameError: it is not a mode, a number or a mapping.
        ConfigError: a value is not a finite number in the support.
    """
    for mode in MODES:
        if isinstance(popularity, str) and popularity == mode:
            return mode
    # {"forecast": share} is a mode to come, and not an item of that name
    if not (isinstance(popularity, Mapping) and set(popularity) == {"forecast"}):
        found = read_do_value(popularity, support)
        if found is not None:
            return found
    shown = shorten(repr(popularity), MOST_SHOWN, placeholder=" ...")
    hint = nearest(popularity, MODES) if isinstance(popularity, str) else "."
    raise UnknownNameError(
        f"PB-C011: popularity={shown} is not available{hint} Modes: {', '.join(MODES)}, a number, or a mapping "
        "from item to number"
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


def scores_at(model: PopularityModel, affinity: AffinityDistribution, z: Tensor) -> Scores:
    """Return P(c=1 | do(u,i), do(z)); a given popularity has no interval, so lower and upper equal the score.

    Args:
        model: the model.
        affinity: distribution of logits, any shape.
        z: popularity, broadcastable to the affinities.
    """
    with torch.no_grad():
        score, sd = affinity.expect(lambda x: model.conditional_probability(x, z))
        return Scores(score, score, score, sd)
