"""The exact posterior of each cell's popularity, given affinities and the model's parameters, by quadrature.

Given the affinities, cells are independent, and the posterior of a cell is one-dimensional. The variable of integration
is t = log z for positive popularity, with Jacobian z, and t = z for real popularity. On equidistant nodes that cover a
smooth density the trapezoidal rule is exact to rounding (Trefethen and Weideman, SIAM Review 2014). Each cell has its
own range, outside which the density is below exp(-DROP) times its maximum.

| tensor | shape | meaning |
| --- | --- | --- |
| t | (n, D) | nodes of D cells; the posterior and q have separate ranges |
| log_density | (n, D) | log density of t, in nats |
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_popbias.checks.cell_likelihood import CellObservations
from pyro_popbias.distributions.supports import same_support
from pyro_popbias.models import PopularityModel

NODES = 128
STEP = 0.25  # of log z, in which densities and likelihoods change at the scale of 1, however wide q is
MOST_NODES = 4096
COARSE = 24  # nodes of the search for the range
ROUNDS = 60
DROP = 28.0  # nats: the mass outside the range is below 1e-10
FURTHEST = 690.0  # of |log z|: exp(-690) is still a normal float64

Density = Callable[[Tensor], Tensor]


class LogDensity(Protocol):
    """A distribution as far as a posterior needs it: its log density but for a constant of each cell."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of values of popularity `(n, D)`, in nats."""


@dataclass(frozen=True)
class Transform:
    """The variable of integration t: t to z, z to t, and log dz/dt."""

    z: Callable[[Tensor], Tensor]
    t: Callable[[Tensor], Tensor]
    log_jacobian: Callable[[Tensor], Tensor]


LOGARITHM = Transform(torch.exp, torch.log, lambda t: t)
IDENTITY = Transform(lambda t: t, lambda z: z, torch.zeros_like)


def transform_of(distribution: TorchDistribution) -> Transform:
    """Return the variable of integration for a distribution of z: log z where z is positive."""
    assert distribution.support is not None  # noqa: S101  every distribution of popularity has one
    return LOGARITHM if same_support(distribution.support, constraints.positive) else IDENTITY


@dataclass(frozen=True)
class Exact:
    """The exact posteriors of D cells, compared with q.

    Attributes:
        transform: the variable of integration t.
        t: `(n, D)` nodes of the posterior.
        log_density: `(n, D)` of t under the posterior, in nats.
        log_evidence: `(D,)` log of the integral of likelihood times prior, in nats.
        kl: `(D,)` KL(q || posterior) in nats.
        q_t: `(n, D)` nodes of q.
        log_ratio: `(n, D)` log posterior - log q at q's nodes, in nats.
    """

    transform: Transform
    t: Tensor
    log_density: Tensor
    log_evidence: Tensor
    kl: Tensor
    q_t: Tensor
    log_ratio: Tensor

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of z, `(D,)` each."""
        weight, z = (self.log_density + _log_step(self.t)).exp(), self.transform.z(self.t)
        mean = (weight * z).sum(0)
        return mean, (weight * (z - mean).square()).sum(0).sqrt()

    def mass(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the posterior probability that z lies between two values, `(D,)` each."""
        density = self.log_density.exp()
        step = _log_step(self.t).exp()
        # the trapezoidal rule up to each node, with its first correction at that end (Euler and Maclaurin)
        below = (density.cumsum(0) - 0.5 * density - torch.gradient(density, dim=0)[0] / 12) * step
        ends = []
        for z in (low, high):
            place = ((self.transform.t(z) - self.t[0]) / step).clamp(0, len(self.t) - 1.001)
            k = place.long().unsqueeze(0)
            part = place - place.floor()
            # the density is linear between nodes, so that its integral is a parabola
            here, there = density.gather(0, k)[0], density.gather(0, k + 1)[0]
            ends.append(below.gather(0, k)[0] + step * part * (here + 0.5 * part * (there - here)))
        return (ends[1] - ends[0]).clamp(0.0, 1.0)


def exact_posterior(
    model: PopularityModel,
    prior: LogDensity,
    q: TorchDistribution,
    observations: CellObservations,
    *,
    cell: Tensor | None = None,
    nodes: int = NODES,
) -> Exact:
    """Return the exact posteriors of D cells.

    Args:
        model: the model that defines the likelihood, at its current parameters.
        prior: `(D,)` prior of each cell.
        q: `(D,)` the guide's distribution of each cell.
        observations: rows of the cells.
        cell: `(D,)` codes of the cells, whose counts are data too where the model has an exposure part.
        nodes: number of nodes n.
    """
    transform, q_t, of_q = nodes_of(q, nodes)

    def log_joint(t: Tensor) -> Tensor:
        z = transform.z(t)
        of_counts = 0.0 if cell is None or model.exposure is None else model.exposure.log_likelihood(cell, z)
        return prior.log_prob(z) + transform.log_jacobian(t) + observations.log_likelihood(model, z) + of_counts

    middle, of_joint = transform.t(q.mean), log_joint(q_t)

    def reaching(t: Tensor) -> Tensor:
        # the second moment of z reaches further up than the density does
        return log_joint(t) + 2 * torch.relu(transform.log_jacobian(t) - transform.log_jacobian(middle))

    t = _between(*find_ends(reaching, q_t[0], q_t[-1]), nodes)
    joint = log_joint(t)
    log_evidence = torch.logsumexp(joint + _log_step(t), dim=0)
    weight = torch.softmax(of_q, dim=0)
    log_ratio = of_joint - log_evidence - of_q
    kl = -torch.where(weight > 0, weight * log_ratio, 0.0).sum(0)
    return Exact(transform, t, joint - log_evidence, log_evidence, kl, q_t, log_ratio)


def nodes_of(q: TorchDistribution, nodes: int | None = None) -> tuple[Transform, Tensor, Tensor]:
    """Return the variable t, nodes that cover a distribution of z `(n, D)`, and its log density of t there, in nats.

    Args:
        q: `(D,)` distributions of z.
        nodes: n; left out, as many as make every expectation of a log-likelihood right to 1e-9 of it.
    """
    transform = transform_of(q)

    def log_q(t: Tensor) -> Tensor:
        return q.log_prob(transform.z(t)) + transform.log_jacobian(t)

    middle = transform.t(q.mean)
    spread = transform.log_jacobian(middle).neg().exp() * q.stddev  # of t, to first order
    low, high = find_ends(log_q, middle - 4 * spread, middle + 4 * spread)
    if nodes is None:
        nodes = max(NODES, min(MOST_NODES, math.ceil(float((high - low).max()) / STEP)))
    t = _between(low, high, nodes)
    return transform, t, log_q(t)


def find_ends(log_density: Density, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ends `(D,)` of the range outside which a density is below exp(-DROP) times its maximum.

    Args:
        log_density: maps nodes `(n, D)` to log densities `(n, D)`, in nats, up to a constant.
        low: `(D,)` lower end at which the search starts.
        high: `(D,)` upper end at which it starts, above `low`.
    """
    found = torch.zeros_like(low, dtype=torch.bool)
    for _ in range(ROUNDS):
        t = _between(low.clamp(-FURTHEST, FURTHEST - 1), high.clamp(1 - FURTHEST, FURTHEST), COARSE)
        value = log_density(t)
        inside = (value > value.amax(0) - DROP).int()
        first, last = inside.argmax(0), COARSE - 1 - inside.flip(0).argmax(0)
        width = t[-1] - t[0]
        lower = t.gather(0, (first - 1).clamp(min=0).unsqueeze(0))[0]
        upper = t.gather(0, (last + 1).clamp(max=COARSE - 1).unsqueeze(0))[0]
        lower = torch.where(first == 0, t[0] - width, lower)
        upper = torch.where(last == COARSE - 1, t[-1] + width, upper)
        # a cell that is done keeps its range, so that it does not depend on the other cells
        low, high = torch.where(found, low, lower), torch.where(found, high, upper)
        found |= (first > 0) & (last < COARSE - 1) & (last - first > COARSE // 3)
        if found.all():
            break
    return low, high


def _between(low: Tensor, high: Tensor, nodes: int) -> Tensor:
    """Return equidistant nodes `(n, D)`."""
    unit = torch.linspace(0, 1, nodes, dtype=low.dtype, device=low.device).unsqueeze(-1)
    return low + (high - low) * unit


def _log_step(t: Tensor) -> Tensor:
    """Return the logarithm of the distance between nodes, `(D,)`."""
    return torch.log(t[1] - t[0])
