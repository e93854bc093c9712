"""Empirical Bayes by counts, and the distributions that they give items."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import nbinom

from pyro_popbias.assembly import count_statistics

ITEMS, LEVEL = 1000, 60.0


def counts_of(a, *, level=LEVEL, items=ITEMS, seed=0):
    random = np.random.default_rng(seed)
    return random.poisson(level * random.gamma(a, 1 / a, items))


@pytest.mark.parametrize("a", [0.2, 0.5, 2.0])
def test_concentration_is_the_maximum_over_both_parameters(a):
    counts = counts_of(a)

    def minus_log_likelihood(logs):
        shape, rate = np.exp(logs)
        return -nbinom.logpmf(counts, shape, rate / (rate + counts.mean())).sum()

    options = {"xatol": 1e-9, "fatol": 1e-10, "maxiter": 10_000}
    shape, rate = np.exp(minimize(minus_log_likelihood, [0.0, 0.0], method="Nelder-Mead", options=options).x)
    assert shape == pytest.approx(rate, rel=1e-6)  # the gauge E[z] = 1
    assert count_statistics.concentration(counts[:, None]) == pytest.approx(shape, rel=1e-6)


@pytest.mark.parametrize("a", [0.5, 2.0])
def test_concentration_is_recovered(a):
    found = [count_statistics.concentration(counts_of(a, seed=seed)[:, None]) for seed in range(20)]
    assert np.mean(found) == pytest.approx(a, abs=3 * np.std(found) / math.sqrt(20))
    assert np.std(found) < 0.1 * a


def test_counts_without_spread_have_the_largest_concentration():
    counts = np.random.default_rng(0).binomial(100, 0.6, size=(ITEMS, 1))  # less spread than Poisson's
    largest = count_statistics.MOST_CONCENTRATION
    assert count_statistics.concentration(counts) == pytest.approx(largest, rel=1e-3)


def test_periods_are_pooled_each_with_its_level():
    counts = np.stack([counts_of(0.7, level=level, seed=seed) for seed, level in enumerate((5.0, 50.0, 500.0))], axis=1)
    found = count_statistics.concentration(counts)
    assert found == pytest.approx(0.7, abs=0.06)
    silent = np.concatenate([counts, np.zeros((ITEMS, 1), dtype=int)], axis=1)
    assert count_statistics.concentration(silent) == found


def test_distributions_of_items_have_mean_one_over_items():
    counts = counts_of(0.5)
    distribution = count_statistics.item_distributions(counts, 0.5, 0.0)
    np.testing.assert_allclose(distribution.concentration, 0.5 + counts)
    np.testing.assert_allclose(distribution.rate, 0.5 + counts.mean())
    assert distribution.mean.mean().item() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("drift", [0.05, 0.25, 1.0])
def test_drift_keeps_means_and_caps_precision(drift):
    counts = np.arange(200)
    free, capped = (count_statistics.item_distributions(counts, 2.0, each) for each in (0.0, drift))
    torch.testing.assert_close(capped.mean, free.mean)
    variance = 1 / free.concentration + drift**2
    torch.testing.assert_close(1 / capped.concentration, variance)
    assert (capped.stddev / capped.mean >= drift).all()


def test_shares_and_their_logarithms():
    counts = np.array([[1, 0, 0], [3, 8, 0]])
    np.testing.assert_allclose(count_statistics.shares(counts), [[0.25, 0, 0], [0.75, 1, 0]])
    expected = [[math.log(1.5 / 2), math.log(0.5 / 4), 0], [math.log(3.5 / 2), math.log(8.5 / 4), 0]]
    np.testing.assert_allclose(count_statistics.log_shares(counts), expected)
    distribution = count_statistics.located(count_statistics.shares(counts))
    np.testing.assert_allclose(distribution.loc, [0.25, 0, 0, 0.75, 1, 0])
    np.testing.assert_allclose(distribution.scale, 1)


def test_shares_of_a_zipf_distribution_say_nothing():
    share = 1 / np.arange(1, 1683)
    counts = (1e5 * share / share.sum())[:, None]
    found = count_statistics.shares(counts)
    # the values of the mathematics page: 7.5e-6 nats, medians from 1.0001 to 1.1331
    assert count_statistics.information(found) == pytest.approx(7.5e-6, rel=0.01)
    assert math.exp(np.ptp(found)) == pytest.approx(1.133, rel=1e-3)
    assert count_statistics.information(count_statistics.log_shares(counts)) > 0.3
