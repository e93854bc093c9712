"""P(c=1 | x) as a function of x, with the odds of P(c=1 | x, z) divided by the users' w inside the integral over z.

Models whose log odds are x plus a term of popularity have log w taken from x, and need nothing of this.
"""

from collections.abc import Callable
from functools import partial, singledispatch

import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Distribution, Normal

from pyro_popbias.distributions.quadrature import BLOCK, grid
from pyro_popbias.distributions.saturated_odds import expected_odds
from pyro_popbias.distributions.selection import flat, take
from pyro_popbias.distributions.special import bounded_exp
from pyro_popbias.models import AffinityDistribution, PopularityModel, Product

NODES = 1_024  # of z, in models of which nothing is known
REACH = 8.0  # of a Normal z, in standard deviations

Probability = Callable[[Tensor], Tensor]


def recalibrated(probability: Tensor, log_weight: Tensor | None) -> Tensor:
    """Return P / (P + (1 - P) w), whose odds are those of P divided by w; P itself without a w."""
    if log_weight is None:
        return probability
    return probability / (probability + (1 - probability) * log_weight.exp())


def conditional(model: PopularityModel, affinity: AffinityDistribution, z: Tensor) -> Probability:
    """Return what takes x, shaped as the affinities, to P(c=1 | x, z), calibrated where they are."""
    return lambda x: recalibrated(model.conditional_probability(x, z), affinity.log_weight)


def marginal(
    model: PopularityModel,
    affinity: AffinityDistribution,
    distribution: Distribution,
    cell_index: Tensor | None = None,
) -> Probability:
    """Return what takes x, shaped as the affinities, to P(c=1 | x) with z integrated over, calibrated where they are.

    Args:
        model: the model.
        affinity: distribution of logits; users do not differ in conformity.
        distribution: as in `PopularityModel.marginal_probability`.
        cell_index: as there.
    """
    log_w = affinity.log_weight
    if log_w is None:
        return lambda x: model.marginal_probability(x, distribution, cell_index)
    return lambda x: integral(model, x, log_w.expand_as(x), distribution, cell_index)


@singledispatch
def integral(
    model: PopularityModel,
    affinity: Tensor,
    log_weight: Tensor,
    distribution: Distribution,
    cell_index: Tensor | None = None,
) -> Tensor:
    """Return E[P / (P + (1 - P) w)] over z, of the affinities' shape, from P(c=1 | x, z) alone.

    Args:
        model: the model.
        affinity: logits, any shape.
        log_weight: log w, the same shape.
        distribution: as in `PopularityModel.marginal_probability`.
        cell_index: as there.
    """
    shape = affinity.shape
    if cell_index is None:
        batch = distribution.batch_shape
        number = torch.arange(batch.numel(), device=affinity.device)
        cell_index, distribution = number.reshape(batch).expand(shape).reshape(-1), distribution.expand(batch)
    x, log_w, z = affinity.reshape(-1), log_weight.reshape(-1), flat(distribution)
    found = torch.empty_like(x)
    for rows in torch.arange(len(x), device=x.device).split(BLOCK // NODES):
        used, among = cell_index[rows].unique(return_inverse=True)
        value, weight = (part[:, among] for part in _nodes(take(z, used)))
        p = model.conditional_probability(x[rows], value)
        found[rows] = (weight * recalibrated(p, log_w[rows])).sum(0)
    return found.reshape(shape)


@integral.register
def _integral_of_product(
    model: Product,
    affinity: Tensor,
    log_weight: Tensor,
    distribution: Distribution,
    cell_index: Tensor | None = None,
) -> Tensor:
    odds = partial(expected_odds, model.saturation, distribution=distribution, cell_index=cell_index)
    return from_odds(affinity, log_weight, odds)


def from_odds(affinity: Tensor, log_weight: Tensor, odds: Callable[[Tensor], Tensor]) -> Tensor:
    """Return (s / w) R(y) with s = sigma(x), y = log(1 - s + s / w) and R as in `saturated_odds`."""
    log_share = torch.nn.functional.logsigmoid(affinity) - log_weight
    return log_share.exp() * odds(torch.logaddexp(torch.nn.functional.logsigmoid(-affinity), log_share))


def _nodes(distribution: Distribution) -> tuple[Tensor, Tensor]:
    """Return values of z and their weights, `(n, D)` each."""
    if isinstance(distribution, Delta):
        return distribution.v.unsqueeze(0), torch.ones_like(distribution.v).unsqueeze(0)
    if isinstance(distribution, Normal):
        unit = torch.linspace(-REACH, REACH, NODES, dtype=distribution.loc.dtype, device=distribution.loc.device)
        weight = torch.softmax(-0.5 * unit.square(), 0).unsqueeze(-1)
        z = distribution.loc + distribution.scale * unit.unsqueeze(-1)
        return z, weight.expand_as(z)
    rule = grid(distribution, torch.full_like(distribution.mean, torch.inf), NODES)
    return bounded_exp(rule.log_z), torch.softmax(rule.log_weight, 0)
