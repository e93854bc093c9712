"""P(c=1 | do(u,i)) = integral of P(c=1 | u,i,z) P(z) dz, under a distribution or a given value of popularity z.

| popularity | P(z) |
| --- | --- |
| `population` | one distribution for all items: the do-intervention |
| `prior` | the item's own prior; the population distribution unless counts gave each item its own |
| `posterior` | the item's q in its last period with rows |
| `none` | no popularity: the affinity alone |
| a number, or a value per item | do(z = value): see `do_value` |
| `forecast` | what a random walk says of the item in the period after the last |
| `{"forecast": a}` | do(z = the item's forecast): see `forecast` |

`prior`, `posterior` and `forecast` keep the item's popularity in the score.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from textwrap import shorten
from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.distributions import quantile
from pyro_popbias.errors import UnknownNameError
from pyro_popbias.models import AffinityDistribution, PopularityModel
from pyro_popbias.prediction.calibrated_probability import conditional, marginal
from pyro_popbias.prediction.conforming_interval import conforming_interval
from pyro_popbias.prediction.do_value import DoValue, read_do_value
from pyro_popbias.prediction.forecast import Forecast, read_forecast
from pyro_popbias.registry import nearest

Mode = Literal["population", "prior", "posterior", "forecast", "none"]
Popularity = Mode | DoValue | Forecast
MODES: tuple[Mode, ...] = ("population", "prior", "posterior", "forecast", "none")
MOST_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True)
class Scores:
    """P(c=1 | do(u,i)), its interval, and how far popularity moves it; all of the affinities' shape, probabilities.

    Attributes:
        score: P with affinity and popularity integrated over.
        score_lower: lower end of the score's own interval, from the affinity's posterior; None where the affinity is a
            point estimate.
        score_upper: its upper end, or None.
        popularity_lower: P at the lower quantile of popularity.
        popularity_upper: P at the upper quantile.
        score_sd: standard deviation of the score under the affinity's posterior, or None.
    """

    score: Tensor
    score_lower: Tensor | None
    score_upper: Tensor | None
    popularity_lower: Tensor
    popularity_upper: Tensor
    score_sd: Tensor | None

    def at(self, index: Tensor) -> "Scores":
        """Return the scores at some positions."""
        found: dict[str, Any] = {
            each.name: None if (value := getattr(self, each.name)) is None else value[index] for each in fields(self)
        }
        return Scores(**found)

    def where(self, replaced: Tensor, other: "Scores") -> "Scores":
        """Return these scores, and others where a mask says so."""

        def error_bar(own: Tensor | None, others: Tensor | None) -> Tensor | None:
            return None if own is None or others is None else torch.where(replaced, others, own)

        return Scores(
            torch.where(replaced, other.score, self.score),
            error_bar(self.score_lower, other.score_lower),
            error_bar(self.score_upper, other.score_upper),
            torch.where(replaced, other.popularity_lower, self.popularity_lower),
            torch.where(replaced, other.popularity_upper, self.popularity_upper),
            error_bar(self.score_sd, other.score_sd),
        )


def read_popularity(popularity: object, support: constraints.Constraint) -> Popularity:
    """Return what `popularity=` asks for, or refuse it.

    Args:
        popularity: the name of a mode, a number, a mapping from item to number, or one from "forecast" to a share.
        support: where the model's popularity lives.

    Raises:
        UnknownNameError: it is not a mode, a number or a mapping.
        ConfigError: a value is not a finite number in the support.
    """
    for mode in MODES:
        if isinstance(popularity, str) and popularity == mode:
            return mode
    found = read_forecast(popularity) or read_do_value(popularity, support)
    if found is not None:
        return found
    shown = shorten(repr(popularity), MOST_SHOWN, placeholder=" ...")
    hint = nearest(popularity, MODES) if isinstance(popularity, str) else "."
    raise UnknownNameError(
        f"PB-C011: popularity={shown} is not available{hint} Modes: {', '.join(MODES)}, a number, a mapping "
        "from item to number, or a mapping from 'forecast' to the share of the last move that is repeated"
    )


def scores(
    model: PopularityModel,
    affinity: AffinityDistribution,
    distribution: Distribution | None,
    *,
    interval: float,
    cell_index: Tensor | None = None,
) -> Scores:
    """Return the intervention's probability, and its values at the quantiles of the affinity and of popularity.

    P is monotone in the affinity and in z, so its quantiles are its values at theirs; for users who differ in conformity see
    `conforming_interval`.

    Args:
        model: the model.
        affinity: distribution of logits, any shape.
        distribution: distribution of z, its batch broadcastable to the affinities; None is the affinity alone.
        interval: probability between the two ends, of the affinity and of popularity alike.
        cell_index: `(B,)` which distribution belongs to which affinity, where distributions are of distinct cells.
    """
    with torch.no_grad():
        if distribution is None:
            return _scores(affinity, model.affinity_score, interval)

        def at(probability: float) -> Tensor:
            z = quantile(distribution, probability)
            z = z if cell_index is None else z.index_select(0, cell_index)
            return probability_at(model, affinity, z)

        tail = (1 - interval) / 2
        ends = at(tail), at(1 - tail)
        # a free slope may be negative: P then falls with z
        ordered = torch.minimum(*ends), torch.maximum(*ends)
        if affinity.conformity is not None:
            own = conforming_interval(model, affinity, distribution, interval, cell_index)
            score = model.mean_probability(affinity, distribution, cell_index)
            return Scores(score, own.lower, own.upper, *ordered, own.sd)
        return _scores(affinity, marginal(model, affinity, distribution, cell_index), interval, by_popularity=ordered)


def scores_at(model: PopularityModel, affinity: AffinityDistribution, z: Tensor, *, interval: float) -> Scores:
    """Return P(c=1 | do(u,i), do(z)); popularity is given and moves nothing, so its two ends equal the score.

    Args:
        model: the model.
        affinity: distribution of logits, any shape.
        z: popularity, broadcastable to the affinities.
        interval: probability of the affinity between the two ends of the score.
    """
    with torch.no_grad():
        given = affinity if affinity.conformity is None else affinity.given(model.logit_term(z))
        return _scores(given, conditional(model, given, z), interval)


def probability_at(model: PopularityModel, affinity: AffinityDistribution, z: Tensor) -> Tensor:
    """Return P(c=1 | z) with x and conformity integrated over, of the affinities' shape.

    Args:
        model: the model.
        affinity: distribution of logits, any shape.
        z: popularity, broadcastable to the affinities.
    """
    given = affinity if affinity.conformity is None else affinity.given(model.logit_term(z))
    return given.expect(conditional(model, given, z))[0]


def _scores(
    affinity: AffinityDistribution,
    probability: Callable[[Tensor], Tensor],
    interval: float,
    *,
    by_popularity: tuple[Tensor, Tensor] | None = None,
) -> Scores:
    """Return the mean, quantiles and standard deviation of a probability that increases with the affinity.

    Args:
        affinity: distribution of logits, any shape.
        probability: from affinities to probabilities of the same shape.
        interval: probability of the affinity between the two ends of the score.
        by_popularity: P at the quantiles of popularity; None where it moves nothing.
    """
    score, sd = affinity.expect(probability)
    tail = (1 - interval) / 2
    ends = affinity.quantile(tail), affinity.quantile(1 - tail)
    lower, upper = (None if x is None else probability(x) for x in ends)
    return Scores(score, lower, upper, *(by_popularity or (score, score)), sd)
