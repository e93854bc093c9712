"""log E[sigma(y)] of a logit y that depends on z, relatively right in both tails: what log-scores of rare labels need.

`expected_logistic` and `expected_inverse_logistic` are right to an absolute error, which says nothing of the logarithm of
a probability that is as small, and 1 - P is lost where P rounds to 1.
"""

from collections.abc import Callable

import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Distribution, LogNormal, Normal
from torch.nn.functional import logsigmoid

from pyro_popbias.distributions.log_expectation import log_expectation
from pyro_popbias.distributions.logistic import log_logistic_normal
from pyro_popbias.distributions.selection import take

BLOCK = 512  # integrals at once
NODES = 4_000  # sigma(x + slope z) turns within a part 1 / |x| of z
STEEP = ((8.0, 1), (40.0, 5), (float("inf"), 25))  # logits up to a size, and how many times as many nodes they need


def log_expected_logistic(offset: Tensor, slope: Tensor, distribution: Distribution, cell_index: Tensor) -> Tensor:
    """Return log E[sigma(offset + slope z)] in nats, `(B,)`; both signs changed give the logarithm of the complement.

    Args:
        offset: `(B,)` logits at z = 0.
        slope: scalar, of any sign.
        distribution: `(D,)` distributions of z: Normal, positive or points.
        cell_index: `(B,)` which distribution belongs to which offset.
    """
    if isinstance(distribution, Delta):
        return logsigmoid(offset + slope * distribution.v[cell_index])
    if isinstance(distribution, Normal):
        return log_logistic_normal(
            offset + slope * distribution.loc[cell_index], slope * distribution.scale[cell_index]
        )
    # the z at which the logit changes its sign, or its slope takes over
    turn = (offset.abs() + 1) / slope.abs().clamp(min=torch.finfo(slope.dtype).tiny)
    value, least = torch.full_like(offset, torch.nan), -1.0
    for most, times in STEEP:
        rows = ((offset.abs() > least) & (offset.abs() <= most)).nonzero().squeeze(-1)
        of_rows = offset[rows], turn[rows], distribution, cell_index[rows]
        found = _in_blocks(lambda z, x: logsigmoid(x + slope * z), *of_rows, times=times)
        value, least = value.index_copy(0, rows, found), most
    return value


def log_expected_inverse_logistic(
    offset: Tensor, sign: Tensor, distribution: Distribution, cell_index: Tensor
) -> Tensor:
    """Return log E[sigma(sign (offset + log z))] in nats, `(B,)`.

    Args:
        offset: `(B,)` logits at z = 1.
        sign: `(B,)`, 1 for the probability and -1 for its complement.
        distribution: `(D,)` distributions of z: positive or points.
        cell_index: `(B,)` which distribution belongs to which offset.
    """
    if isinstance(distribution, Delta):
        return logsigmoid(sign * (offset + torch.log(distribution.v[cell_index])))
    if isinstance(distribution, LogNormal):
        return log_logistic_normal(sign * (offset + distribution.loc[cell_index]), distribution.scale[cell_index])
    turn = torch.exp(-offset.clamp(-600.0, 600.0))
    signed = torch.stack([offset, sign])
    return _in_blocks(lambda z, x: logsigmoid(x[1] * (x[0] + torch.log(z))), signed, turn, distribution, cell_index)


def _in_blocks(
    log_function: Callable[[Tensor, Tensor], Tensor],
    given: Tensor,
    turn: Tensor,
    distribution: Distribution,
    cell_index: Tensor,
    *,
    times: int = 1,
) -> Tensor:
    """Return log E[f(z, given)] of many rows, a block of integrals at a time.

    Args:
        log_function: from z `(n, b)` and the given numbers of the block to log f.
        given: `(..., B)`.
        turn: `(B,)` the z at which f turns.
        distribution: `(D,)`.
        cell_index: `(B,)`.
        times: as many times as `NODES` are the nodes.
    """
    parts, nodes = [], times * NODES
    for rows in torch.arange(len(cell_index), device=cell_index.device).split(BLOCK // times):
        of_rows = given[..., rows]
        some = take(distribution, cell_index[rows])
        parts.append(log_expectation(lambda z, of_rows=of_rows: log_function(z, of_rows), some, turn[rows], nodes))  # type: ignore[misc]
    return torch.cat(parts) if parts else given.new_zeros(0)
