"""KL where its terms are large and cancel: shapes up to a million, values and gradients, both precisions."""

from itertools import product

import mpmath
import pytest
import torch
from torch.distributions import Exponential, Gamma, LogNormal, Weibull, kl_divergence

from pyro_popbias.distributions.kl import FAMILIES, STABLE_IN_TORCH

SHAPES = [0.05, 1.0, 10.0, 1e3, 1e5, 1e6]
RATIOS = [(1.0, 1.0001), (1.0001, 1.0), (3.0, 1.001), (0.5, 2.0)]  # of p's concentration and rate to a shape
RELATIVE = 1e-9
SLOPE = 2e-9  # torch's polygamma, in the slope by q's concentration, is right to 8e-10 and has a factor beside it
ROUNDING = 4 * torch.finfo(torch.float64).eps  # of a KL near 0, whose terms are not
SINGLE = torch.finfo(torch.float32).eps
OWN = [
    pytest.param(q, p, id=f"{q.__name__}-{p.__name__}")
    for q, p in product(FAMILIES, FAMILIES)
    if (q, p) not in STABLE_IN_TORCH
]
NARROW = {
    Gamma: lambda shape: {"concentration": shape, "rate": 0.9 * shape},
    Exponential: lambda shape: {"rate": 0.8},
    LogNormal: lambda shape: {"loc": 0.1, "scale": shape**-0.5},
    Weibull: lambda shape: {"scale": 1.1, "concentration": shape**0.5},
}


def gamma_gamma(a, b, c, d):
    """Return KL(Gamma(a, b) || Gamma(c, d)) and its derivatives by a, b, c, d, in 60 digits."""
    with mpmath.workdps(60):
        a, b, c, d = map(mpmath.mpf, (a, b, c, d))
        log_ratio = mpmath.log(b) - mpmath.log(d)
        value = (a - c) * mpmath.digamma(a) - mpmath.loggamma(a) + mpmath.loggamma(c) + c * log_ratio + a * (d - b) / b
        by_a = (a - c) * mpmath.psi(1, a) + d / b - 1
        by_c = mpmath.digamma(c) - mpmath.digamma(a) + log_ratio
        return value, (by_a, c / b - a * d / b**2, by_c, a / b - c / d)


@pytest.mark.parametrize("ratios", RATIOS)
@pytest.mark.parametrize(("shape", "other"), list(product(SHAPES, SHAPES)))
def test_gamma_gamma_of_unequal_shapes(shape, other, ratios):
    numbers = [shape, shape, other * ratios[0], other * ratios[1]]
    a, b, c, d = parameters = [torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in numbers]
    value = kl_divergence(Gamma(a, b), Gamma(c, d))
    slopes = torch.autograd.grad(value, parameters)
    exact, exact_slopes = gamma_gamma(*numbers)
    assert abs(value.item() - exact) <= RELATIVE * exact + ROUNDING
    # a slope times its parameter: what the KL gains when the parameter grows e-fold, as rows of a guide are logarithms
    scaled = [abs(number * slope) for number, slope in zip(numbers, exact_slopes, strict=True)]
    for number, slope, exact_slope in zip(numbers, slopes, exact_slopes, strict=True):
        assert abs(number * (slope.item() - exact_slope)) <= SLOPE * (1 + max(scaled))


@pytest.mark.parametrize("shape", [1.0, 100.0, 1e4, 1e6])
@pytest.mark.parametrize(("q_family", "p_family"), OWN)
def test_single_precision_rounds_once(q_family, p_family, shape):
    numbers = [*NARROW[q_family](shape).values(), *NARROW[p_family](0.7 * shape).values()]
    single = [torch.tensor(number, dtype=torch.float32, requires_grad=True) for number in numbers]
    double = [number.detach().double().requires_grad_() for number in single]

    def divergence(parameters):
        split = len(q_family.arg_constraints)
        value = kl_divergence(q_family(*parameters[:split]), p_family(*parameters[split:]))
        return value, torch.autograd.grad(value, parameters)

    (value, slopes), (exact, exact_slopes) = divergence(single), divergence(double)
    assert value.dtype == torch.float32
    for one, other in zip((value, *slopes), (exact, *exact_slopes), strict=True):
        torch.testing.assert_close(one, other.float(), rtol=SINGLE, atol=0, equal_nan=True)  # infinite from 3e38 on


def test_mixed_precision_is_that_of_the_finer():
    q = Gamma(torch.tensor(1e6), torch.tensor(1e6))
    p = LogNormal(torch.tensor(0.0, dtype=torch.float64), torch.tensor(0.002, dtype=torch.float64))
    value = kl_divergence(q, p)
    assert value.dtype == torch.float64
    torch.testing.assert_close(
        value, kl_divergence(Gamma(q.concentration.double(), q.rate.double()), p), rtol=0, atol=0
    )


@pytest.mark.parametrize("shape", [1e2, 1e4, 1e6, 1e8])
def test_gamma_and_lognormal_of_large_shapes(shape):
    scale = 1.1 * shape**-0.5
    gamma = Gamma(*(torch.tensor(value, dtype=torch.float64) for value in (shape, shape)))
    normal = LogNormal(*(torch.tensor(value, dtype=torch.float64) for value in (0.0, scale)))
    with mpmath.workdps(60):
        a, s = mpmath.mpf(shape), mpmath.mpf(scale)
        mean, variance = mpmath.digamma(a) - mpmath.log(a), mpmath.psi(1, a)
        half_log = mpmath.log(2 * mpmath.pi) / 2
        entropy = mpmath.loggamma(a) - a * mpmath.digamma(a) + a  # of log z
        to_normal = mpmath.log(s) + half_log + (variance + mean**2) / (2 * s**2) - entropy
        log_density = a * mpmath.log(a) - mpmath.loggamma(a) - a * mpmath.exp(s**2 / 2)  # its mean, E[log z] = 0
        to_gamma = -mpmath.log(s) - half_log - mpmath.mpf(1) / 2 - log_density
    assert kl_divergence(gamma, normal).item() == pytest.approx(float(to_normal), rel=1e-6)
    assert kl_divergence(normal, gamma).item() == pytest.approx(float(to_gamma), rel=1e-6)
