"""log E[f(z)] for distributions of all widths, against many more nodes."""

import math

import pytest
import torch
from pyro.distributions import Delta
from torch.distributions import Exponential, Gamma, LogNormal, Uniform, Weibull

from pyro_popbias.distributions.log_expectation import log_expectation

DISTRIBUTIONS = [
    Gamma(0.02, 0.3),
    Gamma(1.5, 2.0),
    Gamma(3e4, 2e4),
    Exponential(0.7),
    Weibull(1.3, 0.2),
    Weibull(1.3, 40.0),
    LogNormal(0.5, 3.0),
    LogNormal(-1.0, 0.004),
]


def as_double(distribution):
    arguments = {
        name: torch.tensor([float(getattr(distribution, name))]).double() for name in distribution.arg_constraints
    }
    return type(distribution)(**arguments)


def saturation(z):
    return torch.log(-torch.expm1(-z))  # f(z) = 1 - exp(-z)


def of_many_nodes(log_function, distribution):
    """Return log E f by a uniform rule in the quantile's own scale, log z, over everything that holds mass."""
    samples = distribution.sample((20_000,)).log()
    low, high = float(samples.min()), float(samples.max())
    reach = 3 * (high - low)
    log_z = torch.linspace(low - reach, high + reach, 400_001).double().unsqueeze(-1)
    z = log_z.exp().clamp(1e-300, 1e300)
    density = distribution.log_prob(z) + z.log() + math.log((high - low + 2 * reach) / 400_000)
    return float(torch.logsumexp(density + log_function(z), 0))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_narrow_and_wide_distributions(distribution):
    torch.manual_seed(0)
    own = as_double(distribution)
    found = log_expectation(saturation, own, torch.tensor(1.0).double())
    assert float(found) == pytest.approx(of_many_nodes(saturation, own), abs=2e-6)


@pytest.mark.parametrize("turn", [1e-9, 1e9])
def test_a_density_between_the_nodes_of_a_wide_range(turn):
    own = LogNormal(torch.tensor([0.123]).double(), torch.tensor([1e-5]).double())
    found = log_expectation(torch.log, own, torch.tensor(turn).double())
    assert float(found) == pytest.approx(0.123, abs=1e-7)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS[1:3], ids=str)
def test_far_in_a_tail(distribution):
    own = as_double(distribution)
    far = 60 * float(own.mean)

    def step(z):  # nearly 0 below 60 means
        return torch.nn.functional.logsigmoid(50 * (z / far - 1) * (own.mean / own.stddev))

    found = log_expectation(step, own, torch.tensor(far).double())
    z = torch.linspace(1e-3, 90, 900_001).double() * float(own.mean)
    expected = torch.logsumexp(own.log_prob(z) + step(z) + (z[1] - z[0]).log(), 0)
    assert float(expected) < -10
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


def test_a_point_and_an_unknown_distribution():
    z = torch.tensor([0.3, 2.0]).double()
    assert log_expectation(saturation, Delta(z), z).equal(saturation(z))
    with pytest.raises(NotImplementedError, match="Uniform"):
        log_expectation(saturation, Uniform(z, z + 1), z)
