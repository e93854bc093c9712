"""The exact evidence of a label under a popularity of its own, against integrals with many digits."""

import mpmath
import pytest
import torch
from torch.distributions import Exponential, Gamma, LogNormal, Weibull

from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.distributions import expectation
from pyro_popbias.models import (
    ExponentialSaturation,
    FixedScoreAffinity,
    GammaPrior,
    HillSaturation,
    Product,
    TanhSaturation,
)

COMPLEMENTS = {
    ExponentialSaturation: lambda z: mpmath.exp(-z),
    HillSaturation: lambda z: 1 / (1 + z),
    TanhSaturation: lambda z: 2 / (1 + mpmath.exp(z)),
}
DISTRIBUTIONS = {
    "gamma": (Gamma, (2.0, 2.0)),
    "far gamma": (Gamma, (50.0, 0.1)),
    "near gamma": (Gamma, (50.0, 5e7)),
    "narrow gamma": (Gamma, (1e6, 1e5)),
    "wide gamma": (Gamma, (0.05, 0.01)),
    "exponential": (Exponential, (0.02,)),
    "lognormal": (LogNormal, (3.0, 0.5)),
    "weibull": (Weibull, (30.0, 4.0)),
}
RELATIVE = 1e-8


def double(value):
    return torch.tensor(value, dtype=torch.float64)


def log_density(name, numbers, u):
    """Return the log density of u = log z."""
    z = mpmath.exp(u)
    if name == "Gamma":
        a, b = numbers
        return a * (mpmath.log(b) + u) - b * z - mpmath.loggamma(a)
    if name == "Exponential":
        return mpmath.log(numbers[0]) + u - numbers[0] * z
    if name == "LogNormal":
        return mpmath.log(mpmath.npdf(u, *numbers))
    scale, k = numbers
    return mpmath.log(k) + k * (u - mpmath.log(scale)) - (z / scale) ** k


def exact(complement, family, numbers):
    """Return E[1 - g] and E[g], by the trapezoidal rule on log z around the largest integrand of each."""
    numbers = [mpmath.mpf(each) for each in numbers]
    step = mpmath.mpf(1) / (3000 if max(numbers) > 1e5 else 15)
    found = []
    for part in (complement, lambda z: 1 - complement(z)):

        def integrand(u, part=part):
            return log_density(family.__name__, numbers, u) + mpmath.log(part(mpmath.exp(u)))

        top = max((mpmath.mpf(k) / 10 for k in range(-300, 120)), key=integrand)
        top = max((top + k * step for k in range(-int(0.2 / step), int(0.2 / step))), key=integrand)
        total = mpmath.mpf(0)
        for sign in (1, -1):
            k = 0 if sign > 0 else 1
            while (value := integrand(top + sign * k * step)) > integrand(top) - 50:
                total, k = total + mpmath.exp(value), k + 1
        found.append(total * step)
    return found


def product(saturation):
    with local_parameters():
        return Product(FixedScoreAffinity(), GammaPrior(2.0), saturation(1.0))


@pytest.mark.slow
@pytest.mark.parametrize("saturation", COMPLEMENTS)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_evidence_is_relatively_right(saturation, distribution):
    family, numbers = DISTRIBUTIONS[distribution]
    with mpmath.workdps(30):
        complement, attention = exact(COMPLEMENTS[saturation], family, numbers)
        for x in (-30.0, 0.0, 200.0):
            h = 1 / (1 + mpmath.exp(-mpmath.mpf(x)))
            other = 1 / (1 + mpmath.exp(mpmath.mpf(x)))
            expected = {1: mpmath.log(h * attention), 0: mpmath.log(other + h * complement)}
            for label, value in expected.items():
                got = product(saturation).log_evidence(
                    double([x]), family(*map(double, numbers)).expand((1,)), double([float(label)])
                )
                assert got.item() == pytest.approx(float(value), rel=RELATIVE, abs=1e-11), (x, label)


def test_evidence_of_a_popular_item_that_is_no_positive():
    distribution = Gamma(double([50.0]), double([0.1]))
    got = product(ExponentialSaturation).log_evidence(double([200.0]), distribution, double([0.0]))
    assert got.item() == pytest.approx(-50 * float(mpmath.log(11)), rel=1e-10)


@pytest.mark.parametrize("saturation", COMPLEMENTS)
def test_evidence_agrees_with_the_probability_and_has_its_gradient(saturation):
    model, affinity = product(saturation), double([0.4, -1.0, 2.0])
    distribution = Gamma(double([0.5, 2.0, 9.0]).requires_grad_(), double([0.5, 2.0, 9.0]))
    one, other = (model.log_evidence(affinity, distribution, torch.full((3,), label).double()) for label in (1, 0))
    probability = torch.sigmoid(affinity) * expectation(saturation(1.0), distribution)
    torch.testing.assert_close(one, probability.log(), rtol=0, atol=1e-6)
    torch.testing.assert_close(other, torch.log1p(-probability), rtol=0, atol=1e-6)
    gradients = [torch.autograd.grad(each.sum(), distribution.concentration)[0] for each in (one, probability.log())]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)
