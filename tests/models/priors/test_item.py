"""Priors with a distribution for each cell, and the member of every family that stands for another distribution."""

import math
from itertools import product

import mpmath
import numpy as np
import pytest
import torch
from pyro import poutine
from pyro.distributions import Exponential, Gamma, LogNormal, Normal, Weibull
from torch.distributions import constraints, kl_divergence

from pyro_popbias import GUIDES
from pyro_popbias.distributions.kl import moments
from pyro_popbias.distributions.special import inverse_trigamma
from pyro_popbias.guides import CellStatistics
from pyro_popbias.models import PRIORS, ItemPrior

LOCAL = [name for name, cls in GUIDES.items() if not cls.draws_all_cells]
POSITIVE = [name for name, cls in PRIORS.items() if cls.support is constraints.positive]
SHAPED = [name for name in PRIORS if name != "exponential"]  # families with two numbers


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


DISTRIBUTIONS = {
    "gamma": Gamma(doubles(0.8, 2.0, 15.0), doubles(0.5, 1.0, 40.0)),
    "lognormal": LogNormal(doubles(-2.0, 0.0, 1.5), doubles(1.0, 0.3, 1.7)),
    "weibull": Weibull(doubles(0.2, 1.0, 3.0), doubles(0.8, 1.0, 5.0)),
    "exponential": Exponential(doubles(0.2, 1.0, 7.0)),
}


def log_moments(distribution):
    """Return the mean and variance of log z by a fine grid over log z; of z on the real line."""
    if isinstance(distribution, Normal):
        return distribution.loc, distribution.scale.square()
    s = torch.linspace(-150, 40, 200_001, dtype=torch.float64).unsqueeze(-1)
    weight = torch.exp(distribution.log_prob(s.exp().clamp(min=1e-70)) + s) * (s[1] - s[0])
    mean = (weight * s).sum(0)
    return mean, (weight * (s - mean).square()).sum(0)


@pytest.mark.parametrize("name", SHAPED)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_near_distributions_have_the_moments_of_log_popularity(distribution, name):
    near = PRIORS[name].near(DISTRIBUTIONS[distribution])
    assert isinstance(near, PRIORS[name].family)
    torch.testing.assert_close(log_moments(near), log_moments(DISTRIBUTIONS[distribution]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_near_exponential_distributions_have_the_mean(distribution):
    near = PRIORS["exponential"].near(DISTRIBUTIONS[distribution])
    torch.testing.assert_close(near.mean, DISTRIBUTIONS[distribution].mean)


def test_a_distribution_of_the_family_stands_for_itself():
    for name, distribution in DISTRIBUTIONS.items():
        assert kl_divergence(PRIORS[name].near(distribution), distribution).abs().max() < 1e-12


@pytest.mark.parametrize("name", SHAPED)
def test_distributions_with_moments(name):
    mean, variance = doubles(0.2, 1.0, 8.0), doubles(1.0, 0.01, 3.0)
    distribution = PRIORS[name].with_moments(mean, variance)
    torch.testing.assert_close((distribution.mean, distribution.variance), (mean, variance), rtol=1e-9, atol=0)


@pytest.mark.parametrize("a", [0.05, 0.33, 2.0, 300.0])
@pytest.mark.parametrize("name", POSITIVE)
def test_population_distributions_keep_the_gauge(name, a):
    distribution = PRIORS[name].population_like(Gamma(doubles(a), doubles(a)))
    assert distribution.mean.item() == pytest.approx(1, rel=1e-9)
    assert distribution.variance.item() == pytest.approx(1 if name == "exponential" else 1 / a, rel=1e-8)


def test_population_distribution_on_the_real_line_has_the_moments_of_the_logarithm():
    distribution = PRIORS["normal"].population_like(Gamma(doubles(0.33), doubles(0.33)))
    mean, variance = mpmath.digamma(0.33) - mpmath.log(0.33), mpmath.polygamma(1, 0.33)
    assert distribution.mean.item() == pytest.approx(float(mean), rel=1e-12)
    assert distribution.variance.item() == pytest.approx(float(variance), rel=1e-12)


def test_inverse_trigamma():
    y = torch.logspace(-12, 12, 49, dtype=torch.float64)
    for value, x in zip(y.tolist(), inverse_trigamma(y).tolist(), strict=True):
        assert float(mpmath.polygamma(1, mpmath.mpf(x))) == pytest.approx(value, rel=1e-13)


@pytest.mark.parametrize("name", PRIORS)
def test_each_cell_has_its_distribution(name):
    distributions = PRIORS[name].near(DISTRIBUTIONS["gamma"])
    population = PRIORS[name].with_moments(torch.tensor(1.0).double(), torch.tensor(0.5).double())
    prior = ItemPrior(distributions, population)
    assert kl_divergence(prior.all_distributions(), distributions).abs().max() < 1e-12
    assert kl_divergence(prior.population(), population).abs() < 1e-12
    cell = torch.tensor([2, 0, 0])
    found = poutine.trace(prior).get_trace(cell).nodes["_RETURN"]["value"]
    torch.testing.assert_close(found.mean, distributions.mean[cell])
    torch.testing.assert_close(found.variance, distributions.variance[cell])
    assert not list(prior.parameters())
    assert (prior.estimates(), prior.log_prior()) == ({}, {})
    other = ItemPrior.unset(PRIORS[name], 3)
    other.load_state_dict(prior.state_dict())
    assert all(torch.equal(one, two) for one, two in zip(prior.buffers(), other.buffers(), strict=True))


@pytest.mark.parametrize("name", PRIORS)
def test_mixed_population_has_the_moments_of_a_cell_drawn_at_random(name):
    distributions = PRIORS[name].near(Gamma(doubles(3.0, 5.0, 15.0), doubles(4.0, 2.0, 40.0)))
    found = ItemPrior.mixed(PRIORS[name], distributions).population()
    torch.manual_seed(0)
    draws = distributions.sample((400_000,))
    error = draws.std().item() / math.sqrt(draws.numel())
    assert found.mean.item() == pytest.approx(draws.mean().item(), abs=4 * error)
    if name != "exponential":
        error = (draws - draws.mean()).square().std().item() / math.sqrt(draws.numel())
        assert found.variance.item() == pytest.approx(draws.var().item(), abs=4 * error)


@pytest.mark.parametrize(
    ("guide", "prior"),
    [(guide, prior) for guide, prior in product(LOCAL, PRIORS) if GUIDES[guide].fits(PRIORS[prior].support)],
)
def test_guides_start_at_each_cells_distribution(guide, prior):
    cls, distribution = GUIDES[guide], DISTRIBUTIONS["gamma"]

    def start(distribution):
        number = distribution.batch_shape[0]
        q = cls.build(PRIORS[prior].near(distribution), CellStatistics(rows=np.ones(number), positives=np.ones(number)))
        with torch.no_grad():
            return q.posterior(torch.arange(number)).mean

    alone = [start(Gamma(distribution.concentration[k : k + 1], distribution.rate[k : k + 1])) for k in range(3)]
    torch.testing.assert_close(start(distribution), torch.cat(alone), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["lognormal", "weibull"])
def test_a_distribution_far_from_the_family_keeps_a_mean_of_its_size(name):
    shape = torch.tensor([3.0, 1.0, 0.5, 0.1, 0.02, 5e-3]).double()
    given = Gamma(shape, shape)
    found = PRIORS[name].near(given)
    assert (found.mean < 2.0 + 1e-6).all()
    torch.testing.assert_close(found.mean[3:], torch.full((3,), 2.0).double(), rtol=1e-6, atol=0)
    matched, given_moments = moments(found), moments(given)
    torch.testing.assert_close(matched.log_mean, given_moments.log_mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(matched.log_variance[:2], given_moments.log_variance[:2], rtol=1e-9, atol=0)
    assert (matched.log_variance <= given_moments.log_variance + 1e-9).all()
