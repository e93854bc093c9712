"""Gaussian chains: a number of each period, Normal around a line in the one of the period before, cell by cell.

Many chains of T cells each, laid end to end, y_t of cell t in its chain:

    y_1 ~ Normal(m_1, s_1)        y_t | y_{t-1} ~ Normal(m_t + c_t (y_{t-1} - m_{t-1}), s_t)

Var y_t = v_t = c_t^2 v_{t-1} + s_t^2, so m_t is the mean of y_t, and the precision matrix of a chain is tridiagonal (Rue and
Held, Gaussian Markov Random Fields, 2005). A random walk has c_t = 1. By the chain rule the log density, the entropy and
the KL of a chain are sums over its cells, and each is returned cell by cell: so a chain stands in a plate of cells as
independent distributions do.

| tensor | shape | meaning |
| --- | --- | --- |
| loc, scale, coupling | (..., D) | m, s and c of each cell, D = chains * T; c of the first cell of a chain is not read |
| y | (..., D) | z where it is real, log z where it is positive |
"""

from functools import cached_property
from typing import Self, final

import torch
from pyro.distributions import Delta, LogNormal, Normal, TorchDistribution
from torch import Tensor
from torch import distributions as td
from torch.distributions import Distribution, constraints, register_kl

from pyro_popbias.distributions.kl import FAMILIES, LOG_TWO_PI, Moments, cross_entropy, moments

Shape = torch.Size | list[int] | tuple[int, ...]


class GaussianChain(TorchDistribution):
    """Base of chains of y = z and y = log z.

    Args:
        loc: `(..., D)` mean of y of each cell.
        scale: `(..., D)` standard deviation of y given the period before; that of y in the first period.
        coupling: `(..., D)` slope of y in the y before; 0 makes cells independent.
        periods: T.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive, "coupling": constraints.real}  # noqa: RUF012  as torch declares it
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, coupling: Tensor, *, periods: int) -> None:
        self.loc, self.scale, self.periods = loc, scale, periods
        self.coupling = coupling * _follows(loc, periods)
        super().__init__(loc.shape, validate_args=False)

    def expand(self, batch_shape: Shape, _instance: object = None) -> Self:
        """Return as many chains for each of the leading dimensions."""
        parts = (part.expand(batch_shape) for part in (self.loc, self.scale, self.coupling))
        return type(self)(*parts, periods=self.periods)

    @cached_property
    def variance_of_y(self) -> Tensor:
        """Var y of each cell, `(..., D)`."""
        own, kept = (self._by_period(part.square()) for part in (self.scale, self.coupling))
        found = [own[..., 0]]
        for t in range(1, self.periods):
            found.append(own[..., t] + kept[..., t] * found[-1])
        return torch.stack(found, dim=-1).reshape(self.loc.shape)

    def of_noise(self, noise: Tensor) -> Tensor:
        """Return z made of standard normal numbers, one of each cell, `(..., D)`."""
        raise NotImplementedError

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """Return reparametrised draws of z, `(*sample_shape, ..., D)`."""
        shape = (*sample_shape, *self.loc.shape)
        return self.of_noise(torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device))

    def y_of_noise(self, noise: Tensor) -> Tensor:
        """Return y made of standard normal numbers, one of each cell, `(..., D)`."""
        own, kept = self._by_period(self.scale * noise), self._by_period(self.coupling)
        moved = [own[..., 0]]
        for t in range(1, self.periods):
            moved.append(own[..., t] + kept[..., t] * moved[-1])
        return self.loc + torch.stack(moved, dim=-1).reshape(noise.shape)

    def log_density_of_y(self, y: Tensor) -> Tensor:
        """Return the log density of y of each cell given the one before, `(..., D)` in nats."""
        away = y - self.loc
        surprise = (away - self.coupling * before(away, self.periods)) / self.scale
        return -0.5 * surprise.square() - self.scale.log() - 0.5 * LOG_TWO_PI

    def _by_period(self, values: Tensor) -> Tensor:
        return values.reshape(*values.shape[:-1], -1, self.periods)

    @property
    def marginals(self) -> TorchDistribution:
        """The distribution of z of each cell, `(..., D)`."""
        raise NotImplementedError


@final
class NormalChain(GaussianChain):
    """z = y of each cell, on the real line."""

    support = constraints.real

    @property
    def marginals(self) -> Normal:
        """The distribution of z of each cell, `(..., D)`."""
        return Normal(self.loc, self.variance_of_y.sqrt(), validate_args=False)

    def of_noise(self, noise: Tensor) -> Tensor:
        """Return z made of standard normal numbers, one of each cell, `(..., D)`."""
        return self.y_of_noise(noise)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of z of each cell given the period before, `(..., D)` in nats."""
        return self.log_density_of_y(value)


@final
class LogNormalChain(GaussianChain):
    """z = exp(y) of each cell, on the positive numbers."""

    support = constraints.positive

    @property
    def marginals(self) -> LogNormal:
        """The distribution of z of each cell, `(..., D)`."""
        return LogNormal(self.loc, self.variance_of_y.sqrt(), validate_args=False)

    def of_noise(self, noise: Tensor) -> Tensor:
        """Return z made of standard normal numbers, one of each cell, `(..., D)`."""
        return self.y_of_noise(noise).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density of z of each cell given the period before, `(..., D)` in nats."""
        y = value.log()
        return self.log_density_of_y(y) - y


def marginals(distribution: Distribution) -> Distribution:
    """Return the distribution of each cell by itself, where cells hang together in chains; any other as it is."""
    return distribution.marginals if isinstance(distribution, GaussianChain) else distribution


def moments_of_y(distribution: Distribution) -> tuple[Tensor, Tensor]:
    """Return mean and variance of y, log z or z where it is real, `(...)` each; a point of z > 0 has no variance."""
    if isinstance(distribution, Delta):
        return distribution.v.log(), torch.zeros_like(distribution.v)
    if isinstance(distribution, td.Normal):
        return distribution.loc, distribution.scale.square()
    found = moments(distribution)
    return found.log_mean, found.log_variance


def before(values: Tensor, periods: int) -> Tensor:
    """Return the value of the period before for each cell, `(..., D)`; 0 for the first of a chain."""
    by_period = values.reshape(*values.shape[:-1], -1, periods)
    return torch.cat([torch.zeros_like(by_period[..., :1]), by_period[..., :-1]], dim=-1).reshape(values.shape)


def _follows(like: Tensor, periods: int) -> Tensor:
    """Return 1 for each cell that has one before it in its chain, and 0 for the first, `(D,)`."""
    period = torch.arange(like.shape[-1], device=like.device) % periods
    return (period > 0).to(like.dtype)


@moments.register
def _moments_chain(q: LogNormalChain) -> Moments:
    variance = q.variance_of_y
    # the entropy of z given the z before: with E[log p] of the marginals, a sum over cells is the chain's KL
    entropy = q.loc + torch.log(q.scale) + 0.5 * (1 + LOG_TWO_PI)
    return Moments(entropy, q.loc, lambda: variance, lambda r: r * q.loc + 0.5 * r.square() * variance)


def _kl_to_chain(q: Distribution, p: GaussianChain) -> Tensor:
    """Return KL(q || chain) cell by cell, from the mean, variance, entropy and covariance of y in neighbouring periods.

    E[(a_t - g_t a_{t-1})^2] of a = y - m_p is (its mean)^2 + V_t - 2 g_t Cov(y_t, y_{t-1}) + g_t^2 V_{t-1}.
    """
    mean, variance, entropy = _of_y(q)
    shared = q.coupling * before(variance, p.periods) if isinstance(q, GaussianChain) else torch.zeros_like(variance)
    away, g = mean - p.loc, p.coupling
    off = (away - g * before(away, p.periods)).square()
    spread = off + variance - 2 * g * shared + g.square() * before(variance, p.periods)
    return p.scale.log() + 0.5 * LOG_TWO_PI + spread / (2 * p.scale.square()) - entropy


def _of_y(q: Distribution) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance of y, and its entropy, given the y before where q is a chain, `(..., D)` each."""
    if isinstance(q, td.Normal | NormalChain):
        variance = q.scale.square() if isinstance(q, td.Normal) else q.variance_of_y
        return q.loc, variance, q.scale.log() + 0.5 * (1 + LOG_TWO_PI)
    found = moments(q)
    return found.log_mean, found.log_variance, found.entropy - found.log_mean  # dz = z dy


def _from_lognormal_chain(q: LogNormalChain, p: Distribution) -> Tensor:
    found = moments(q)
    return cross_entropy(p, found) - found.entropy


def _from_normal_chain(q: NormalChain, p: td.Normal) -> Tensor:
    spread = (q.variance_of_y + (q.loc - p.loc).square()) / p.scale.square()
    return torch.log(p.scale / q.scale) + 0.5 * (spread - 1)


for _family in FAMILIES:
    register_kl(_family, LogNormalChain)(_kl_to_chain)
    register_kl(LogNormalChain, _family)(_from_lognormal_chain)
register_kl(LogNormalChain, LogNormalChain)(_kl_to_chain)
register_kl(td.Normal, NormalChain)(_kl_to_chain)
register_kl(NormalChain, td.Normal)(_from_normal_chain)
register_kl(NormalChain, NormalChain)(_kl_to_chain)
