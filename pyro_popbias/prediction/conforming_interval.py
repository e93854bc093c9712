"""The interval of a score where users differ in conformity: S(x, d), popularity integrated over, of two uncertain numbers.

In units of their standard deviations x and d_u are a point of the plane. S changes most along its gradient there, and to first
order nowhere else; on the line through the mean along it S is followed exactly. Where one of both is known that is no
approximation; where S is linear in both on any scale neither.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.models import AffinityDistribution, PopularityModel
from pyro_popbias.models.affinities.distribution import NODES, Deviation


@dataclass(frozen=True)
class ConformingInterval:
    """Quantiles and standard deviation of a score, all of the affinities' shape."""

    lower: Tensor
    upper: Tensor
    sd: Tensor


def conforming_interval(
    model: PopularityModel,
    affinity: AffinityDistribution,
    distribution: Distribution,
    interval: float,
    cell_index: Tensor | None = None,
) -> ConformingInterval:
    """Return the interval of scores under a distribution of popularity.

    Args:
        model: the model.
        affinity: distribution of logits with the conformity of their users, any shape.
        distribution: as in `PopularityModel.marginal_probability`.
        interval: probability between lower and upper.
        cell_index: as there.
    """
    d = affinity.conformity
    assert d is not None  # noqa: S101  the caller has looked
    sd_of_x = torch.zeros_like(affinity.mean) if affinity.variance is None else affinity.variance.sqrt()
    sd_of_d, known = d.variance.sqrt(), torch.zeros_like(d.variance)

    def score(of_x: Tensor | float, of_d: Tensor | float) -> Tensor:
        at = Deviation(d.mean + of_d * sd_of_d, known)
        return model.mean_probability(
            AffinityDistribution(affinity.mean + of_x * sd_of_x, None, at), distribution, cell_index
        )

    rise_of_x, rise_of_d = score(1.0, 0.0) - score(-1.0, 0.0), score(0.0, 1.0) - score(0.0, -1.0)
    length = torch.hypot(rise_of_x, rise_of_d)
    share = torch.where(length > 0, rise_of_x / length, 1.0), torch.where(length > 0, rise_of_d / length, 0.0)

    def along(step: float) -> Tensor:
        return score(step * share[0], step * share[1])

    end = float(norm.isf((1 - interval) / 2))
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    mean = square = torch.zeros_like(length)
    for node, weight in zip(nodes.tolist(), (weights / weights.sum()).tolist(), strict=True):
        value = along(node)
        mean, square = mean + weight * value, square + weight * value.square()
    return ConformingInterval(along(-end), along(end), (square - mean.square()).clamp(min=0.0).sqrt())
