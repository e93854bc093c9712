"""KL(q || p) of two distributions of popularity in many digits: -H(q) - E_q[log p] of the families' textbook moments."""

from functools import singledispatch
from typing import Any

import mpmath
from mpmath import mpf
from torch.distributions import Distribution, Exponential, Gamma, LogNormal, Normal, Weibull

DIGITS = 80  # terms of size 1e10 may cancel to a KL of 1e-20


def in_order(distribution: Distribution) -> dict[str, mpf]:
    """Return the parameters of a scalar distribution by name, exactly."""
    return {name: mpf(getattr(distribution, name).item()) for name in distribution.arg_constraints}


@singledispatch
def log_density(p: Distribution, u: mpf) -> mpf:
    """Return the log density of log z at u, or of z where it is real."""
    raise NotImplementedError(f"no exact density of {type(p).__name__}; add one to benchmarks/oracles/divergences.py")


@log_density.register
def _(p: Gamma, u: mpf) -> mpf:
    a, b = in_order(p)["concentration"], in_order(p)["rate"]
    return a * (mpmath.log(b) + u) - b * mpmath.exp(u) - mpmath.loggamma(a)


@log_density.register
def _(p: Exponential, u: mpf) -> mpf:
    b = in_order(p)["rate"]
    return mpmath.log(b) + u - b * mpmath.exp(u)


@log_density.register
def _(p: LogNormal, u: mpf) -> mpf:
    m, s = in_order(p)["loc"], in_order(p)["scale"]
    return -(((u - m) / s) ** 2) / 2 - mpmath.log(s) - mpmath.log(2 * mpmath.pi) / 2


@log_density.register
def _(p: Normal, z: mpf) -> mpf:
    m, s = in_order(p)["loc"], in_order(p)["scale"]
    return -(((z - m) / s) ** 2) / 2 - mpmath.log(s) - mpmath.log(2 * mpmath.pi) / 2


@log_density.register
def _(p: Weibull, u: mpf) -> mpf:
    k, scale = in_order(p)["concentration"], in_order(p)["scale"]
    s = k * (u - mpmath.log(scale))
    return mpmath.log(k) + s - mpmath.exp(s)


def _moments(q: Distribution) -> tuple[mpf, mpf, mpf, Any]:
    """Return H of log z, E[log z], Var[log z], and r -> log E[z^r]."""
    own = in_order(q)
    if isinstance(q, Gamma | Exponential):
        a, b = own.get("concentration", mpf(1)), own["rate"]
        entropy = mpmath.loggamma(a) - a * mpmath.digamma(a) + a
        mean = mpmath.digamma(a) - mpmath.log(b)
        return (
            entropy,
            mean,
            mpmath.psi(1, a),
            lambda r: mpmath.loggamma(a + r) - mpmath.loggamma(a) - r * mpmath.log(b),
        )
    if isinstance(q, LogNormal):
        m, s = own["loc"], own["scale"]
        return mpmath.log(s) + (1 + mpmath.log(2 * mpmath.pi)) / 2, m, s**2, lambda r: r * m + (r * s) ** 2 / 2
    k, scale = own["concentration"], own["scale"]
    entropy = mpmath.euler + 1 - mpmath.log(k)
    log_scale = mpmath.log(scale)
    variance = (mpmath.pi / k) ** 2 / 6
    return entropy, log_scale - mpmath.euler / k, variance, lambda r: r * log_scale + mpmath.loggamma(1 + r / k)


def _cross_entropy(p: Distribution, moments: tuple[mpf, mpf, mpf, Any]) -> mpf:
    """Return -E[log density of log z under p]."""
    _, mean, variance, log_power = moments
    own = in_order(p)
    if isinstance(p, Gamma | Exponential):
        a, b = own.get("concentration", mpf(1)), own["rate"]
        return mpmath.loggamma(a) - a * (mpmath.log(b) + mean) + b * mpmath.exp(log_power(mpf(1)))
    if isinstance(p, LogNormal):
        m, s = own["loc"], own["scale"]
        return mpmath.log(s) + mpmath.log(2 * mpmath.pi) / 2 + (variance + (mean - m) ** 2) / (2 * s**2)
    k, log_scale = own["concentration"], mpmath.log(own["scale"])
    return -mpmath.log(k) - k * (mean - log_scale) + mpmath.exp(log_power(k) - k * log_scale)


def divergence(q: Distribution, p: Distribution) -> mpf:
    """Return KL(q || p) of scalar distributions.

    Raises:
        NotImplementedError: there is no formula for a family.
    """
    with mpmath.workdps(DIGITS):
        if isinstance(q, Normal) and isinstance(p, Normal):
            (m, s), (n, t) = ((own["loc"], own["scale"]) for own in (in_order(q), in_order(p)))
            return mpmath.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - mpf(1) / 2
        families = (Gamma, Exponential, LogNormal, Weibull)
        if not (isinstance(q, families) and isinstance(p, families)):
            names = f"{type(q).__name__} to {type(p).__name__}"
            raise NotImplementedError(f"no exact KL of {names}; add one to benchmarks/oracles/divergences.py")
        found = _moments(q)
        return _cross_entropy(p, found) - found[0]


def by_quadrature(q: Distribution, p: Distribution, low: float, high: float) -> mpf:
    """Return KL(q || p) as an integral over log z, or z where it is real, between two ends: a check of `divergence`."""
    with mpmath.workdps(30):

        def integrand(u: mpf) -> mpf:
            of_q = log_density(q, u)
            return mpmath.exp(of_q) * (of_q - log_density(p, u))

        return mpmath.quad(integrand, mpmath.linspace(low, high, 9))
