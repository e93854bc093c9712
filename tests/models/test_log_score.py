"""Log-scores of labels, popularity and affinity integrated out, against integrals with many digits."""

from functools import cache
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import torch
from pyro.distributions import Delta
from torch.distributions import Exponential, Gamma, LogNormal, Normal, Weibull

from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.models import (
    Additive,
    AffinityDistribution,
    ExponentialSaturation,
    FixedScoreAffinity,
    GammaPrior,
    HillSaturation,
    InverseLogistic,
    Product,
    TanhSaturation,
)

pytestmark = pytest.mark.slow

POSITIVE = {
    "gamma": (Gamma, (2.0, 2.0)),
    "popular gamma": (Gamma, (30.0, 0.5)),
    "exponential": (Exponential, (1.0,)),
    "lognormal": (LogNormal, (-0.3, 0.8)),
    "weibull": (Weibull, (1.1, 1.5)),
    "point": (Delta, (1.5,)),
}
NORMAL = {"normal": (Normal, (0.5, 0.7))}
LINKS = {
    "exponential": (ExponentialSaturation, lambda z: mpmath.exp(-z)),
    "hill": (HillSaturation, lambda z: 1 / (1 + z)),
    "tanh": (TanhSaturation, lambda z: 2 / (1 + mpmath.exp(z))),
}
SLOPE = 1.5
EXTREME = (-60.0, -37.5, 0.0, 40.0)


def double(value):
    return torch.tensor(value, dtype=torch.float64)


def sigma(x):
    return 1 / (1 + mpmath.exp(-x))


def of_link(complement):
    """Return P(c | x, z) of the product model, of c = 1 and c = 0 without cancellation."""
    return {
        1: lambda x, z: sigma(x) * (1 - complement(z)),
        0: lambda x, z: sigma(-x) + sigma(x) * complement(z),
    }


def model_of(name):
    """Return a model, and its P(c | x, z) by label."""
    with local_parameters():
        affinity, prior = FixedScoreAffinity(), GammaPrior(2.0)
        if name in LINKS:
            saturation, complement = LINKS[name]
            return Product(affinity, prior, saturation(1.0)), of_link(complement)
        if name == "inverse-logistic":
            return InverseLogistic(affinity, prior), {
                c: lambda x, z, s=s: sigma(s * (x + mpmath.log(z))) for c, s in ((1, 1), (0, -1))
            }
        model = Additive(affinity, prior, slope="free")
        slope = SLOPE if name == "additive" else -SLOPE
        model.slope_parameter = double(slope)
        return model, {c: lambda x, z, s=s: sigma(s * (x + slope * z)) for c, s in ((1, 1), (0, -1))}


def log_density(family, numbers, u):
    """Return the log density of u: of log z, and of z itself for a Normal."""
    if family is Normal:
        return mpmath.log(mpmath.npdf(u, *numbers))
    if family is LogNormal:
        return mpmath.log(mpmath.npdf(u, *numbers))
    if family is Weibull:
        scale, k = numbers
        s = k * (u - mpmath.log(scale))
        return mpmath.log(k) + s - mpmath.exp(s)
    a, b = (1, numbers[0]) if family is Exponential else numbers
    return a * (mpmath.log(b) + u) - b * mpmath.exp(u) - mpmath.loggamma(a)


@cache
def rule(family, numbers):
    """Return nodes z and weights of the trapezoidal rule, but for those of no weight."""
    numbers = [mpmath.mpf(each) for each in numbers]
    if family is Delta:
        return [(numbers[0], mpmath.mpf(1))]
    step, ends = mpmath.mpf(1) / 50, (-12, 12) if family is Normal else (-60, 6)
    nodes = [k * step for k in range(int(ends[0] / step), int(ends[1] / step))]
    weighted = [(u if family is Normal else mpmath.exp(u), log_density(family, numbers, u)) for u in nodes]
    return [(z, step * mpmath.exp(value)) for z, value in weighted if value > -150]


def exact(conditional, x, family, numbers):
    """Return E[P(c | x, z)]."""
    return sum(weight * conditional(mpmath.mpf(x), z) for z, weight in rule(family, numbers))


CASES = [
    *[(name, distribution) for name in LINKS for distribution in POSITIVE],
    *[("inverse-logistic", distribution) for distribution in POSITIVE],
    *[(name, distribution) for name in ("additive", "falling") for distribution in {**POSITIVE, **NORMAL}],
]


@pytest.mark.parametrize(("name", "distribution"), CASES)
def test_extreme_affinities(name, distribution):
    model, conditional = model_of(name)
    family, numbers = {**POSITIVE, **NORMAL}[distribution]
    q, none = family(*(double([each]) for each in numbers)), torch.zeros(1, dtype=torch.long)
    with mpmath.workdps(30), torch.no_grad():
        for x in EXTREME:
            for label in (0, 1):
                value = model.log_probability(double([float(label)]), AffinityDistribution(double([x])), q, none)
                expected = float(mpmath.log(exact(conditional[label], x, family, numbers)))
                # where the label is not rare, the quadratures' 1e-7 of the probability
                assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-7), (x, label)


@pytest.mark.nightly
@pytest.mark.parametrize("name", [*LINKS, "inverse-logistic", "additive"])
def test_extreme_bayesian_affinities(name):
    model, conditional = model_of(name)
    q, none = Gamma(double([2.0]), double([2.0])), torch.zeros(1, dtype=torch.long)
    with mpmath.workdps(30), torch.no_grad():
        # the trapezoidal rule with this step is exact to 1e-15 under a Normal distribution
        nodes = [(0.75 * k, 0.75 * mpmath.npdf(0.75 * k)) for k in range(-10, 11)]
        for x, label in ((-45.0, 1), (45.0, 0)):
            affinity = AffinityDistribution(double([x]), double([0.8**2]))
            value = model.log_probability(double([float(label)]), affinity, q, none)
            mean = sum(w * exact(conditional[label], x + 0.8 * e, Gamma, (2.0, 2.0)) for e, w in nodes)
            assert value.item() == pytest.approx(float(mpmath.log(mean)), rel=1e-6, abs=1e-7), (x, label)


@pytest.mark.parametrize(("name", "distribution"), CASES)
@pytest.mark.parametrize("variance", [None, 0.5])
def test_in_the_normal_range_it_is_the_logarithm_of_the_probability(name, distribution, variance):
    model, _ = model_of(name)
    family, numbers = {**POSITIVE, **NORMAL}[distribution]
    random = np.random.default_rng(0)
    cell_index = torch.from_numpy(random.integers(3, size=100))
    q = family(*(double([each] * 3) for each in numbers))
    mean = torch.from_numpy(random.normal(0, 3, 100))
    affinity = AffinityDistribution(mean, None if variance is None else torch.full_like(mean, variance))
    with torch.no_grad():
        p, _ = affinity.expect(lambda x: model.marginal_probability(x, q, cell_index))
        for label in (0, 1):
            right = p if label else 1 - p
            normal = right > 0.02
            value = model.log_probability(torch.full_like(mean, float(label)), affinity, q, cell_index)
            torch.testing.assert_close(value[normal], right[normal].log(), rtol=0, atol=1e-12)
            assert torch.isfinite(value).all()


def test_a_positive_of_a_large_logit_does_not_count_as_impossible():
    # P rounds to 1 beyond a logit of 37, and log(1 - P) was that of the smallest number, -708
    model, _ = model_of("additive")
    q = Normal(double([0.0]), double([1e-6]))
    batch = SimpleNamespace(label=double([0.0]), cell_index=torch.zeros(1, dtype=torch.long))
    with torch.no_grad():
        value = model.log_score(batch, AffinityDistribution(double([40.0])), q)
    assert value.item() == pytest.approx(-40.0, abs=1e-9)
