"""log E[f(z)] under a distribution of popularity by the trapezoidal rule over log z, in 80-bit arithmetic.

Normalisers of densities come from mpmath. Steps are far finer than those of the package's rules, and the range goes on to where
the integrand is below exp(-60) of its largest value, wherever that lies; nothing is shared with them.
"""

from collections.abc import Callable
from functools import singledispatch

import mpmath
import numpy as np
from torch.distributions import Distribution, Exponential, Gamma, LogNormal, Normal, Weibull

Array = np.ndarray
NODES, COARSE, DROPPED = 3_000, 6_000, 60.0
LONG = np.longdouble


def _long(value: mpmath.mpf) -> LONG:
    return LONG(mpmath.nstr(value, 25))


def _own(distribution: Distribution) -> dict[str, LONG]:
    return {name: LONG(getattr(distribution, name).item()) for name in distribution.arg_constraints}


@singledispatch
def log_density(distribution: Distribution) -> tuple[Callable[[Array], Array], float, float]:
    """Return the log density of u = log z, or of u = z where it is real, its centre and its scale."""
    raise NotImplementedError(
        f"no exact density of {type(distribution).__name__}; add one to benchmarks/oracles/integrals.py"
    )


def _gamma(a: LONG, b: LONG) -> tuple[Callable[[Array], Array], float, float]:
    with mpmath.workdps(40):
        exact = mpmath.mpf(float(a))
        remainder = _long(mpmath.loggamma(exact) - exact * mpmath.log(exact) + exact)
    centre = np.log(a / b)

    def density(u: Array) -> Array:
        s = u - centre
        with np.errstate(over="ignore"):
            # e^s - 1 - s by its series, where the difference would cancel
            bend = np.where(np.abs(s) < 1e-3, s**2 / 2 * (1 + s / 3 * (1 + s / 4 * (1 + s / 5))), np.expm1(s) - s)
        return -remainder - a * bend

    return density, float(centre), float(1 / np.sqrt(a))


@log_density.register
def _of_gamma(q: Gamma) -> tuple[Callable[[Array], Array], float, float]:
    own = _own(q)
    return _gamma(own["concentration"], own["rate"])


@log_density.register
def _of_exponential(q: Exponential) -> tuple[Callable[[Array], Array], float, float]:
    return _gamma(LONG(1), _own(q)["rate"])


def _normal(m: LONG, s: LONG) -> tuple[Callable[[Array], Array], float, float]:
    constant = np.log(s) + np.log(2 * LONG(mpmath.nstr(mpmath.pi, 25))) / 2
    return lambda u: -(((u - m) / s) ** 2) / 2 - constant, float(m), float(s)


@log_density.register
def _of_lognormal(q: LogNormal) -> tuple[Callable[[Array], Array], float, float]:
    return _normal(_own(q)["loc"], _own(q)["scale"])


@log_density.register
def _of_normal(q: Normal) -> tuple[Callable[[Array], Array], float, float]:
    return _normal(_own(q)["loc"], _own(q)["scale"])


@log_density.register
def _of_weibull(q: Weibull) -> tuple[Callable[[Array], Array], float, float]:
    k, scale = _own(q)["concentration"], _own(q)["scale"]

    def density(u: Array) -> Array:
        s = k * (u - np.log(scale))
        with np.errstate(over="ignore"):
            return np.log(k) + s - np.exp(s)

    return density, float(np.log(scale)), float(1 / k)


def log_integral(distribution: Distribution, log_function: Callable[[Array], Array], *, nodes: int = NODES) -> float:
    """Return log E[f] of a scalar distribution, f given by its logarithm at u (log z, or z where it is real)."""
    density, centre, scale = log_density(distribution)

    def integrand(u: Array) -> Array:
        return density(u) + log_function(u)

    reach = 80 * scale + 300
    unit = np.sinh(np.linspace(-1, 1, COARSE, dtype=LONG) * np.arcsinh(LONG(reach / scale)))
    coarse = centre + scale * unit  # dense in the middle, and out to where a tail may hold the mass
    values = integrand(coarse)
    inside = np.flatnonzero(values > values.max() - DROPPED)
    low, high = coarse[max(inside[0] - 1, 0)], coarse[min(inside[-1] + 1, len(coarse) - 1)]
    u = np.linspace(low, high, nodes, dtype=LONG)
    values = integrand(u)
    most = values.max()
    return float(most + np.log(np.exp(values - most).sum() * (u[1] - u[0])))


def log_sigma(t: Array) -> Array:
    """Return log sigma(t)."""
    return -np.logaddexp(LONG(0), -t)


def log_saturation(name: str, log_z: Array) -> tuple[Array, Array]:
    """Return log g and log(1 - g) at z = exp(log_z), with the parameter 1."""
    with np.errstate(over="ignore", divide="ignore"):
        z = np.exp(log_z)
        if name == "exponential":
            return np.where(z > 1, np.log1p(-np.exp(-z)), np.log(-np.expm1(-z))), -z
        if name == "hill":
            return log_sigma(log_z), log_sigma(-log_z)
        if name == "tanh":  # g = (1 - e^-z) / (1 + e^-z)
            one = np.where(z > 1, np.log1p(-np.exp(-z)), np.log(-np.expm1(-z))) - np.log1p(np.exp(-z))
            return one, np.log(LONG(2)) - z - np.log1p(np.exp(-z))
    raise NotImplementedError(f"no saturation {name!r}; add one to benchmarks/oracles/integrals.py")


def log_probability(model: str, saturation: str, x: float, label: float, u: Array) -> Array:
    """Return log P(c=label) of a model at u (log z, or z where it is real), with other parameters at 1."""
    x, sign = LONG(x), 1 if label else -1
    if model == "product":
        one, other = log_saturation(saturation, u)
        return log_sigma(x) + one if label else np.logaddexp(log_sigma(-x), log_sigma(x) + other)
    if model == "inverse-logistic":
        return log_sigma(sign * (x + u))
    raise NotImplementedError(f"no model {model!r}; add one to benchmarks/oracles/integrals.py")
