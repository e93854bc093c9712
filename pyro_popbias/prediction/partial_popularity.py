"""Popularity between the population's and an item's own: the knob between a debiased ranking and a popularity-biased one.

do(z_i = m_0^(1-a) m_i^a) with the population's popularity m_0, an item's own m_i and the share a; in the additive model,
where popularity is real, do(z_i = (1-a) m_0 + a m_i). Each m is the value of z that stands for a distribution:
P(c=1 | x, z=m) is the mean of P(c=1 | x, z) over it, at an affinity x of the intercept. In the product model, and in
`pda`, that holds at every affinity, so that a share of 0 ranks as "population" does, and a share of 1 as "posterior"; in
the others it nearly does.
"""

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.distributions import quantile
from pyro_popbias.errors import ConfigError
from pyro_popbias.models import PopularityModel
from pyro_popbias.prediction.do_value import DoValue
from pyro_popbias.prediction.forecast import last_values
from pyro_popbias.prediction.scorer import Scorer

TAIL = 1e-6  # outside of the bracket in which a value is searched, on either side
HALVINGS = 60  # of the bracket
LEAST = 1e-30  # of a popularity that is positive; a quantile may be 0


@dataclass(frozen=True, eq=False)
class PartialPopularity:
    """The popularity of a fit's items, as a function of the share of their own.

    Attributes:
        items: ids.
        shared: m_0, its logarithm where popularity is positive.
        own: `(K,)` the m_i, likewise.
        is_positive: whether popularity lives above 0.
    """

    items: "pd.Index[str]"
    shared: float
    own: np.ndarray
    is_positive: bool

    @classmethod
    def of(cls, scorer: Scorer) -> "PartialPopularity":
        """Return that of a trained pair; what the scorer integrates over does not matter."""
        model, catalogue = scorer.model, scorer.catalogue
        with torch.no_grad():
            cell = scorer.tensor(np.arange(catalogue.cells))
            of_q, of_prior, of_all = (
                _location(model, distribution).cpu().numpy()
                for distribution in (
                    scorer.guide.popularity.posterior(cell),
                    model.prior.distribution(cell),
                    model.prior.population().expand((1,)),
                )
            )
        own, _ = last_values(of_q, of_prior, catalogue)
        return cls(catalogue.items, float(of_all[0]), own, not _is_real(model))

    def at(self, share: float) -> DoValue:
        """Return the popularity of each item, by id.

        Args:
            share: a, of an item's own popularity; below 0 popular items are held back, above 1 they are pushed further.

        Raises:
            ConfigError: the share is not a finite number, or so large that popularity is none.
        """
        if isinstance(share, bool) or not isinstance(share, Real) or not math.isfinite(float(share)):
            raise ConfigError(f"PB-C390: the share of an item's own popularity must be a finite number, not {share!r}")
        values = (1 - float(share)) * self.shared + float(share) * self.own
        with np.errstate(over="ignore", under="ignore"):
            popularity = np.exp(values) if self.is_positive else values
        if not np.isfinite(popularity).all() or (self.is_positive and not popularity.all()):
            raise ConfigError(
                f"PB-C390: with a share of {share:g} popularity would be 0 or infinite for "
                f"{int((~np.isfinite(popularity) | (popularity == 0)).sum())} of {len(popularity)} items; use one nearer to 1"
            )
        return DoValue(pd.Series(popularity, index=self.items, dtype="float64"))


def _is_real(model: PopularityModel) -> bool:
    return model.latents["popularity"].support is constraints.real


def _location(model: PopularityModel, distribution: Distribution) -> Tensor:
    """Return the value that stands for each distribution, its logarithm where popularity is positive, `(D,)`."""
    x = model.affinity.intercept.expand(distribution.batch_shape).double()
    wanted = model.marginal_probability(x, distribution)

    def probability(at: Tensor) -> Tensor:
        return model.conditional_probability(x, at if _is_real(model) else at.exp())

    low, high = (quantile(distribution, end).double() for end in (TAIL, 1 - TAIL))
    if not _is_real(model):
        low, high = low.clamp(min=LEAST).log(), high.clamp(min=LEAST).log()
    rises = probability(high) >= probability(low)  # a free slope may be negative
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = (probability(middle) < wanted) == rises
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2
