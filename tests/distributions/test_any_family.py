"""Positive families that have no rule of their own: integrals, quantiles and draws by density and torch's sampling alone."""

import numpy as np
import pytest
import torch
from pyro.distributions import InverseGamma
from scipy import stats

from pyro_popbias.distributions import draw, expectation
from pyro_popbias.distributions.quantile import quantile
from pyro_popbias.models import ExponentialSaturation

SHAPE, RATE = 4.0, 3.0
EXACT = stats.invgamma(SHAPE, scale=RATE)


def inverse_gamma(number=1):
    return InverseGamma(torch.full((number,), SHAPE).double(), torch.full((number,), RATE).double())


def test_expectation():
    exact = EXACT.expect(lambda z: -np.expm1(-z))
    assert expectation(ExponentialSaturation(1.0), inverse_gamma(3)).numpy() == pytest.approx([exact] * 3, abs=1e-7)


@pytest.mark.parametrize("probability", [0.01, 0.05, 0.5, 0.95, 0.99])
def test_quantile(probability):
    # linear between nodes .06 apart in log z
    assert quantile(inverse_gamma(2), probability).numpy() == pytest.approx([EXACT.ppf(probability)] * 2, rel=1e-2)


def test_draws_are_keyed_and_leave_torch_alone():
    state = torch.random.get_rng_state()
    both = draw(inverse_gamma(2), draws=2_000, seed=0, keys=[7, 8])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (draw(inverse_gamma(), draws=2_000, seed=0, keys=[8])[:, 0] == both[:, 1]).all()
    assert stats.kstest(both[:, 0], EXACT.cdf).pvalue > 0.001
