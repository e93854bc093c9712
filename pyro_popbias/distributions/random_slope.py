"""E[sigma(x + slope t)] with independent Normal x and slope, and t = z or log z of a distribution of z; and its logarithm.

Given t, the logit is Normal, and `logistic_normal` integrates over it; t is then summed over the nodes of `quadrature`. Where
t itself is Normal, x and t are integrated over given the slope, and the slope by a Gauss-Hermite rule.

| tensor | shape | meaning |
| --- | --- | --- |
| mean, variance, slope, slope_variance | (B,) | moments of x and of the slope, each integral's own |
| distribution | (D,) | distributions of z |
| cell_index | (B,) | which of them belongs to each integral |
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import Distribution, LogNormal, Normal
from torch.nn.functional import logsigmoid

from pyro_popbias.distributions.log_expectation import log_expectation
from pyro_popbias.distributions.logistic import log_logistic_normal, logistic_normal
from pyro_popbias.distributions.quadrature import BLOCK, grid
from pyro_popbias.distributions.selection import flat, take
from pyro_popbias.distributions.special import bounded_exp

SLOPES = 16  # nodes of the Gauss-Hermite rule over the slope
RARE_LOGITS = 32  # and over the logit of a rare label
NODES = 256  # of z where t is z
LEAST_NODES, STEP = 48, 0.35  # of log z where t is that
FINE = 4_000  # nodes of z where labels are rare: sigma(x + slope z) turns within a part 1 / |x| of z
RARE_BLOCK = 64  # integrals of rare labels at once
LEAST_SLOPE = 0.1  # in where a logit changes its sign
LARGEST = 600.0  # of |log z| there


@dataclass(frozen=True)
class RandomSlope:
    """Logits y = x + slope t with independent Normal x and slope, `(B,)`, or any shape that broadcasts; points of variance 0."""

    mean: Tensor
    variance: Tensor
    slope: Tensor
    slope_variance: Tensor

    def at(self, index: Tensor | slice) -> "RandomSlope":
        """Return some of them."""
        return RandomSlope(*(getattr(self, each.name)[index] for each in fields(self)))

    def probability(self, distribution: Distribution, *, logarithm: bool, cell_index: Tensor | None = None) -> Tensor:
        """Return E[sigma(y)] with t integrated over too, a probability.

        Args:
            distribution: of z, its batch broadcastable to the logits; with `cell_index`, `(D,)` distributions.
            logarithm: whether t is log z, and not z.
            cell_index: `(B,)` which distribution belongs to which logit.
        """
        parts = torch.broadcast_tensors(*(getattr(self, each.name) for each in fields(self)))
        shape, z = parts[0].shape, distribution
        if cell_index is None:
            shape = torch.broadcast_shapes(shape, z.batch_shape)
            parts = tuple(each.expand(shape) for each in parts)
            number = torch.arange(math.prod(z.batch_shape), device=parts[0].device)
            cell_index, z = number.reshape(z.batch_shape).expand(shape).reshape(-1), flat(z.expand(z.batch_shape))
        logit = RandomSlope(*(each.reshape(-1) for each in parts))
        normal = _normal_term(z, logarithm=logarithm)
        found = logit._of_normal(*normal, cell_index) if normal else logit._by_nodes(z, cell_index, logarithm)
        return found.reshape(shape)

    def _of_normal(self, loc: Tensor, scale: Tensor, cell_index: Tensor) -> Tensor:
        """Return E[sigma(y)] for t ~ Normal(loc, scale)."""
        found = torch.empty_like(self.mean)
        for rows in _blocks(len(found), BLOCK // 8):
            t, sd = loc[cell_index[rows]], scale[cell_index[rows]]
            found[rows] = sum(
                weight * logistic_normal(*_moments(part, slope, t, sd))
                for part, slope, weight in self.at(rows)._slopes()
            )
        return found

    def _slopes(self) -> Iterator[tuple["RandomSlope", Tensor, float]]:
        """Yield these logits with values of their slope, and the weights of the latter."""
        if not bool((self.slope_variance > 0).any()):
            yield self, self.slope, 1.0
            return
        sd = self.slope_variance.sqrt()
        for node, weight in _rule(SLOPES):
            yield self, self.slope + node * sd, weight

    def _by_nodes(self, distribution: Distribution, cell_index: Tensor, logarithm: bool) -> Tensor:
        """Return E[sigma(y)] by nodes of positive z."""
        found, points = torch.empty_like(self.mean), not bool(((self.variance > 0) | (self.slope_variance > 0)).any())
        order = torch.argsort(cell_index, stable=True)  # integrals under one distribution share its nodes
        for part in _blocks(len(found), BLOCK // NODES):
            rows = order[part]
            logit, (used, among) = self.at(rows), cell_index[rows].unique_consecutive(return_inverse=True)
            t, weight = (each[:, among] for each in _nodes(take(distribution, used), logarithm))
            loc = logit.mean + logit.slope * t
            value = (
                torch.sigmoid(loc)
                if points
                else logistic_normal(loc, (logit.variance + logit.slope_variance * t.square()).sqrt())
            )
            found[rows] = (weight * value).sum(0)
        return found

    def log_probability(
        self, sign: Tensor, distribution: Distribution, *, logarithm: bool, cell_index: Tensor
    ) -> Tensor:
        """Return log E[sigma(sign y)] in nats, `(B,)`, relatively right however small it is.

        Args:
            sign: `(B,)` 1 for the probability and -1 for its complement.
            distribution: `(D,)` of z.
            logarithm: whether t is log z, and not z.
            cell_index: `(B,)` which distribution belongs to which logit.
        """
        found, normal = torch.empty_like(self.mean), _normal_term(distribution, logarithm=logarithm)
        for rows in _blocks(len(found), RARE_BLOCK):
            logit, signs, index = self.at(rows), sign[rows], cell_index[rows]
            if normal is None:
                of_rows = take(distribution, index)
                function, turn = _log_function(logit, signs, logarithm), _turn(logit, logarithm)
                found[rows] = log_expectation(function, of_rows, turn, *(() if logarithm else (FINE,)))
                continue
            t, sd = (each[index] for each in normal)
            values = []
            for part, slope, weight in logit._slopes():
                loc, scale = _moments(part, slope, t, sd)
                values.append(math.log(weight) + log_logistic_normal(signs * loc, scale))
            found[rows] = torch.logsumexp(torch.stack(values), 0)
        return found


def _rule(number: int) -> list[tuple[float, float]]:
    """Return nodes and weights for a standard normal number."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(number)
    return list(zip(nodes.tolist(), (weights / weights.sum()).tolist(), strict=True))


def _blocks(number: int, size: int) -> Iterator[slice]:
    for start in range(0, number, size):
        yield slice(start, start + size)


def _moments(logit: RandomSlope, slope: Tensor, t: Tensor, sd: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of x + slope t, for a known slope and t ~ Normal(t, sd)."""
    return logit.mean + slope * t, (logit.variance + (slope * sd).square()).sqrt()


def _normal_term(distribution: Distribution, *, logarithm: bool) -> tuple[Tensor, Tensor] | None:
    """Return mean and standard deviation of t where it is Normal, or a point; else None."""
    if isinstance(distribution, Delta):
        t = torch.log(distribution.v) if logarithm else distribution.v
        return t, torch.zeros_like(t)
    if isinstance(distribution, LogNormal if logarithm else Normal):
        return distribution.loc, distribution.scale
    return None


def _nodes(distribution: Distribution, logarithm: bool) -> tuple[Tensor, Tensor]:
    """Return values of t and their weights, `(n, D)` each, over all of z: sigma(y) need not vanish where z does."""
    everywhere, number = torch.full_like(distribution.mean, torch.inf), NODES
    if logarithm:
        ends = grid(distribution, everywhere, 2).log_z
        number = max(LEAST_NODES, int((ends[-1] - ends[0]).max() / STEP))
    rule = grid(distribution, everywhere, number)
    weight = torch.softmax(rule.log_weight, 0)
    return rule.log_z if logarithm else bounded_exp(rule.log_z), weight


def _turn(logit: RandomSlope, logarithm: bool) -> Tensor:
    """Return the z at which a logit changes its sign, about, `(B,)`."""
    slope = torch.where(logit.slope < 0, -1.0, 1.0) * logit.slope.abs().clamp(min=LEAST_SLOPE)
    if logarithm:
        return torch.exp((-logit.mean / slope).clamp(-LARGEST, LARGEST))
    return (logit.mean.abs() + 1) / slope.abs()


def _log_function(logit: RandomSlope, sign: Tensor, logarithm: bool) -> Callable[[Tensor], Tensor]:
    """Return what takes z `(n, B)` to log E[sigma(sign y)] given z."""

    def of(z: Tensor) -> Tensor:
        t = torch.log(z) if logarithm else z
        loc, sd = logit.mean + logit.slope * t, (logit.variance + logit.slope_variance * t.square()).sqrt()
        found = torch.full_like(loc, -torch.inf)
        for node, weight in _rule(RARE_LOGITS):
            found = torch.logaddexp(found, math.log(weight) + logsigmoid(sign * (loc + node * sd)))
        return found

    return of
