import math

import mpmath
import pyro
import pytest
import torch

from pyro_popbias.distributions import ProductBernoulli
from pyro_popbias.distributions.bernoulli import log_one_minus_product
from pyro_popbias.models import ExponentialSaturation, HillSaturation, TanhSaturation

GRID = [-200.0, -40.0, -5.0, -0.1, 0.0, 0.1, 5.0, 36.0, 40.0, 200.0]
RATES = [1e-12, 1e-6, 1e-3, 0.5, 1.0, 5.0, 30.0, 200.0]  # g = 1 - exp(-rate)
TOLERANCES = [(torch.float64, 1e-6, 1e-290), (torch.float32, 5e-5, 1e-30)]


def exact(logit, rate, label):
    """Return log P(label) and its derivatives by logit and by rate, with 300 digits."""
    with mpmath.workdps(300):

        def log_probability(x, r):
            h, g = 1 / (1 + mpmath.exp(-x)), -mpmath.expm1(-r)
            return mpmath.log(h * g) if label else mpmath.log(1 - h * g)

        h, g = 1 / (1 + mpmath.exp(-mpmath.mpf(logit))), -mpmath.expm1(-mpmath.mpf(rate))
        outer = 1 / (h * g) if label else -1 / (1 - h * g)
        by_logit, by_rate = outer * g * h * (1 - h), outer * h * (1 - g)
        return [float(each) for each in (log_probability(mpmath.mpf(logit), mpmath.mpf(rate)), by_logit, by_rate)]


def distribution(logit, rate):
    # log1p keeps the gradient by the rate, which expm1 rounds away where g is near 1
    near_one = rate > math.log(2)
    low, high = torch.where(near_one, 1.0, rate), torch.where(near_one, rate, 1.0)
    log_g = torch.where(near_one, torch.log1p(-torch.exp(-high)), torch.log(-torch.expm1(-low)))
    return ProductBernoulli(logit, log_g, -rate)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize(("dtype", "relative", "floor"), TOLERANCES)
def test_log_prob_and_gradient_against_exact_values(label, dtype, relative, floor):
    for x in GRID:
        for r in RATES:
            logit = torch.tensor(x, dtype=dtype, requires_grad=True)
            rate = torch.tensor(r, dtype=dtype, requires_grad=True)
            value = distribution(logit, rate).log_prob(torch.tensor(float(label)))
            value.backward()
            for got, expected in zip(
                (value, logit.grad, rate.grad), exact(logit.item(), rate.item(), label), strict=True
            ):
                assert math.isfinite(got.item())
                assert math.isclose(got.item(), expected, rel_tol=relative, abs_tol=floor), (x, r, label)


@pytest.mark.parametrize("saturation", [ExponentialSaturation, HillSaturation, TanhSaturation])
@pytest.mark.parametrize("z", [110.0, 1e10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attention_that_rounds_to_one(saturation, z, dtype):
    g, popularity, logit = saturation(torch.tensor(1.0, dtype=dtype)), torch.tensor(z, dtype=dtype), torch.zeros(())
    distribution = ProductBernoulli(
        logit.to(dtype), g.log(popularity), g.log_complement(popularity), validate_args=True
    )
    near = 1 / (1 + z) if saturation is HillSaturation else 0.0  # 1 - g
    expected = {0: math.log1p(near) - math.log(2), 1: math.log1p(-near) - math.log(2)}
    for label, value in expected.items():
        assert distribution.log_prob(torch.tensor(float(label))).item() == pytest.approx(value, rel=5e-7)


def test_logarithms_above_zero_are_refused():
    with pytest.raises(ValueError, match=r"parameter log_g .* of distribution ProductBernoulli"):
        ProductBernoulli(torch.zeros(()), torch.tensor(0.1), torch.tensor(-1.0), validate_args=True)


def test_never_zero_gradient_where_the_exact_one_is_not():
    logit = torch.tensor(GRID, dtype=torch.float64, requires_grad=True)
    distribution(logit, torch.tensor(1.0, dtype=torch.float64)).log_prob(torch.tensor(0.0)).sum().backward()
    assert (logit.grad < 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probabilities_add_up(dtype):
    logit, rate = torch.meshgrid(
        torch.linspace(-10, 10, 21, dtype=dtype), torch.logspace(-3, 1, 9, dtype=dtype), indexing="ij"
    )
    both = [distribution(logit, rate).log_prob(torch.tensor(float(label))).exp() for label in (0, 1)]
    torch.testing.assert_close(sum(both), torch.ones_like(logit))
    torch.testing.assert_close(both[1], distribution(logit, rate).mean)


def test_complement_is_exact_at_both_ends():
    log_g = torch.tensor([-1e-18, -50.0], dtype=torch.float64)
    complement = torch.tensor([math.log(1e-18), -math.exp(-50.0)], dtype=torch.float64)
    got = log_one_minus_product(torch.full((2,), 200.0, dtype=torch.float64), log_g, complement)
    torch.testing.assert_close(got, complement, rtol=1e-12, atol=0)


def test_expand_and_sample():
    pyro.set_rng_seed(0)
    narrow = distribution(torch.tensor(0.3, dtype=torch.float64), torch.tensor(1.2, dtype=torch.float64))
    wide = narrow.expand(torch.Size((4,)))
    assert wide.batch_shape == (4,)
    draws = wide.sample(torch.Size((50_000,)))
    assert draws.shape == (50_000, 4)
    error = (narrow.mean * (1 - narrow.mean) / draws.numel()).sqrt()
    assert abs(draws.double().mean() - narrow.mean) <= 4 * error
