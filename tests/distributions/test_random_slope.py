"""Integrals of sigma(x + slope t) with a random slope."""

import math

import pytest
import torch
from pyro.distributions import Delta, Exponential, Gamma, LogNormal, Normal, Weibull
from torch.nn.functional import logsigmoid

from pyro_popbias.distributions import expected_inverse_logistic, expected_logistic
from pyro_popbias.distributions.random_slope import RandomSlope

LOGITS = [(-1.0, 0.5, 1.0, 0.25), (2.0, 0.0, 1.0, 0.1), (-4.0, 0.3, 0.4, 0.5), (0.5, 1.0, -0.7, 0.3)]
CASES = {
    "gamma, log": (Gamma(1.5, 1.5), True),
    "exponential, log": (Exponential(1.0), True),
    "weibull, log": (Weibull(1.1, 1.4), True),
    "lognormal, log": (LogNormal(-0.3, 0.8), True),
    "normal": (Normal(0.2, 1.0), False),
    "gamma": (Gamma(2.0, 2.0), False),
    "lognormal": (LogNormal(-0.3, 0.4), False),
    "point": (Delta(torch.tensor(0.7)), False),
    "point, log": (Delta(torch.tensor(0.7)), True),
}
FIRST = torch.zeros(1, dtype=torch.long)


def one(distribution):
    """Return a batch of one, in float64."""
    if isinstance(distribution, Delta):
        return Delta(distribution.v.double().reshape(1))
    parameters = {name: getattr(distribution, name).double().reshape(1) for name in distribution.arg_constraints}
    return type(distribution)(**parameters)


def logit(*moments):
    return RandomSlope(*(torch.tensor([each], dtype=torch.float64) for each in moments))


def of_z(distribution, logarithm):
    """Return values of t and their probabilities, by a fine rule."""
    if isinstance(distribution, Delta):
        return (distribution.v.log() if logarithm else distribution.v), torch.ones(1).double()
    real = isinstance(distribution, Normal)
    node = torch.linspace(-10, 10, 4001).double() if real else torch.linspace(-40, 6, 8001).double()
    z = node if real else node.exp()
    weight = torch.softmax(distribution.log_prob(z) + (0.0 if real else node), 0)
    return (z.log() if logarithm else z), weight


def fine(moments, distribution, logarithm):
    """Return E[sigma(y)] by a fine rule over z and over the logit, which is Normal given z."""
    mean, variance, slope, of_slope = moments
    t, weight = of_z(distribution, logarithm)
    loc, sd = mean + slope * t, (variance + of_slope * t.square()).sqrt()
    node = torch.linspace(-8, 8, 801).double().unsqueeze(1)
    normal = torch.softmax(-0.5 * node.square(), 0)
    return float((weight * normal * torch.sigmoid(loc + node * sd)).sum())


@pytest.mark.parametrize("moments", LOGITS)
@pytest.mark.parametrize("case", CASES)
def test_against_a_fine_rule(case, moments):
    distribution, logarithm = one(CASES[case][0]), CASES[case][1]
    expected = fine(moments, distribution, logarithm)
    found = logit(*moments).probability(distribution, logarithm=logarithm)
    assert float(found) == pytest.approx(expected, abs=2e-7)
    for sign, probability in ((1.0, expected), (-1.0, 1 - expected)):
        log = logit(*moments).log_probability(
            torch.tensor([sign]).double(), distribution, logarithm=logarithm, cell_index=FIRST
        )
        assert float(log) == pytest.approx(math.log(probability), abs=1e-4)


def test_known_slopes_have_the_integrals_of_known_slopes():
    x, slope = torch.linspace(-3, 3, 7).double(), torch.tensor(0.8).double()
    none = torch.zeros_like(x)
    gamma, normal = one(Gamma(1.5, 1.5)), one(Normal(0.2, 1.0))
    torch.testing.assert_close(
        RandomSlope(x, none, slope, none).probability(normal, logarithm=False),
        expected_logistic(x, slope, normal),
        rtol=0,
        atol=1e-8,
    )
    torch.testing.assert_close(
        RandomSlope(x, none, torch.ones(()).double(), none).probability(gamma, logarithm=True),
        expected_inverse_logistic(x, gamma),
        rtol=0,
        atol=1e-7,
    )


@pytest.mark.slow
@pytest.mark.parametrize("moments", [(-30.0, 0.3, 1.1, 0.25), (-30.0, 0.0, 0.9, 0.1), (-12.0, 0.1, 1.0, 0.6)])
@pytest.mark.parametrize("logarithm", [True, False])
def test_far_tails(logarithm, moments):
    """Probabilities that come from a corner of z and slope, where other rules have no nodes."""
    mean, variance, slope, of_slope = moments
    distribution = one(Gamma(1.3, 1.6))
    log_z, node = torch.linspace(-100, 8, 10_001).double(), torch.linspace(-14, 14, 1_401).double().unsqueeze(1)
    t = log_z if logarithm else log_z.exp()
    of_log_z = distribution.log_prob(log_z.exp()) + log_z + math.log(108 / 10_000)
    y = mean + slope * t + node * (variance + of_slope * t.square()).sqrt()
    expected = torch.logsumexp((of_log_z + torch.log_softmax(-0.5 * node.square(), 0) + logsigmoid(y)).flatten(), 0)
    found = logit(*moments).log_probability(torch.ones(1), distribution, logarithm=logarithm, cell_index=FIRST)
    assert float(expected) < -5
    assert float(found) == pytest.approx(float(expected), rel=1e-2)


@pytest.mark.parametrize("logarithm", [True, False])
def test_pairs_and_tables_agree(logarithm):
    generator = torch.Generator().manual_seed(0)
    mean, variance = (torch.randn(4, 3, generator=generator).double().abs() for _ in range(2))
    slope, of_slope = torch.ones(4, 1).double(), torch.linspace(0.1, 0.4, 4).double().unsqueeze(1)
    items = Gamma(torch.tensor([0.5, 1.0, 30.0]).double(), torch.tensor([0.5, 2.0, 20.0]).double())
    table = RandomSlope(mean, variance, slope, of_slope).probability(items, logarithm=logarithm)
    flat = [each.expand(4, 3).reshape(-1) for each in (mean, variance, slope, of_slope)]
    pairs = RandomSlope(*flat).probability(items, logarithm=logarithm, cell_index=torch.arange(3).repeat(4))
    torch.testing.assert_close(table.reshape(-1), pairs, rtol=0, atol=1e-9)
    for code in range(3):
        alone = Gamma(items.concentration[code : code + 1], items.rate[code : code + 1])
        column = RandomSlope(mean[:, code], variance[:, code], slope[:, 0], of_slope[:, 0])
        torch.testing.assert_close(column.probability(alone, logarithm=logarithm), table[:, code], rtol=0, atol=1e-8)


@pytest.mark.parametrize("slope", [0.0, 1e-9, -0.05])
@pytest.mark.parametrize("case", ["gamma, log", "gamma", "lognormal"])
def test_a_slope_of_next_to_nothing(case, slope):
    """The z at which the logit turns is then nowhere; rare labels still have the probability of a fine rule."""
    distribution, logarithm = one(CASES[case][0]), CASES[case][1]
    for moments in ((-6.0, 0.4, slope, 0.02), (-6.0, 0.4, slope, 0.0)):
        found = logit(*moments).log_probability(torch.ones(1), distribution, logarithm=logarithm, cell_index=FIRST)
        assert float(found) == pytest.approx(math.log(fine(moments, distribution, logarithm)), abs=1e-4)
