"""Special functions to the last digits: a coefficient, a boundary or a step that is a little off shows."""

import mpmath
import pytest
import torch

from pyro_popbias.distributions.special import (
    bounded_exp,
    exp_minus_one_minus,
    inverse_trigamma,
    log_gamma_remainder,
    trigamma,
)

EPS = torch.finfo(torch.float64).eps
ABOVE = [
    8.001,
    8.5,
    9.5,
    30.0,
    1e3,
    1e6,
]  # where the series holds; the first of its terms that is left out is largest at 8
BELOW = [1e-3, 0.5, 3.0, 7.0, 7.9, 8.0]


def exact(function, *arguments):
    with mpmath.workdps(50):
        return float(function(*map(mpmath.mpf, arguments)))


def remainder(x):
    return mpmath.loggamma(x) - x * mpmath.log(x) + x


def slope_of(x):
    return mpmath.digamma(x) - mpmath.log(x)


def near(function, points):
    return pytest.approx([exact(function, x) for x in points], rel=6 * EPS)


def test_the_series_of_log_gamma_to_rounding():
    x = torch.tensor(ABOVE, dtype=torch.float64, requires_grad=True)
    value, slope = log_gamma_remainder(x)
    (by_value,) = torch.autograd.grad(value.sum(), x, retain_graph=True)
    (by_slope,) = torch.autograd.grad(slope.sum(), x)
    assert value.tolist() == near(remainder, ABOVE)
    assert slope.tolist() == by_value.tolist() == near(slope_of, ABOVE)
    assert by_slope.tolist() == near(lambda x: mpmath.psi(1, x) - 1 / x, ABOVE)


def test_log_gamma_where_the_series_does_not_hold():
    x = torch.tensor(BELOW, dtype=torch.float64, requires_grad=True)
    value, slope = log_gamma_remainder(x)
    (by_slope,) = torch.autograd.grad(slope.sum(), x)
    assert value.tolist() == pytest.approx([exact(remainder, each) for each in BELOW], rel=1e-13)
    assert slope.tolist() == pytest.approx([exact(slope_of, each) for each in BELOW], rel=1e-13)
    assert by_slope.tolist() == pytest.approx(
        [exact(lambda x: mpmath.psi(1, x) - 1 / x, each) for each in BELOW], rel=1e-8
    )


def test_an_expanded_number_is_computed_once_and_equal():
    one = torch.tensor([2.5], dtype=torch.float64)
    for found, expected in zip(log_gamma_remainder(one.expand(4)), log_gamma_remainder(one), strict=True):
        assert found.tolist() == expected.tolist() * 4
    different = torch.tensor([2.5, 3.5, 9.0], dtype=torch.float64)
    assert log_gamma_remainder(different)[0].tolist() == [
        float(log_gamma_remainder(each)[0]) for each in different.unsqueeze(1)
    ]


@pytest.mark.parametrize("d", [1e-9, 0.01, 0.0999, 0.1001, 1.5, 20.0, -1e-9, -0.0999, -0.1001, -0.7, -30.0])
def test_exp_minus_one_minus(d):
    x = torch.tensor([d], dtype=torch.float64, requires_grad=True)
    value = exp_minus_one_minus(x)
    value.sum().backward()
    # from 0.1 on the terms of expm1(d) - d are up to 20 times what is left of them
    rounding = EPS if abs(d) < 0.1 else 12 * EPS
    assert float(value.detach()) == pytest.approx(exact(lambda x: mpmath.expm1(x) - x, d), rel=4 * rounding)
    assert float(x.grad) == pytest.approx(exact(mpmath.expm1, d), rel=2 * EPS)


@pytest.mark.parametrize("x", [1e-4, 0.03, 0.4, 1.0, 2.0, 7.0, 50.0, 1e5])
def test_trigamma_and_its_inverse(x):
    y = trigamma(torch.tensor([x], dtype=torch.float64))
    assert float(y) == pytest.approx(exact(lambda x: mpmath.psi(1, x), x), rel=1e-14)
    assert float(inverse_trigamma(y)) == pytest.approx(x, rel=1e-12)
    assert not inverse_trigamma(y.requires_grad_()).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bounded_exponential_is_finite_and_nearly_reaches_the_largest_number(dtype):
    most = torch.finfo(dtype).max
    found = bounded_exp(torch.tensor([0.5, 1e4, torch.inf], dtype=dtype))
    assert found[0] == torch.tensor(0.5, dtype=dtype).exp()
    assert found[1] == found[2]
    assert 0.36 * most < float(found[2]) < 0.37 * most


@pytest.mark.parametrize("shared", [False, True])
def test_gradients_have_gradients(shared):
    def parts(x):
        x = x.expand(4) if shared else x
        value, slope = log_gamma_remainder(x)
        return value, slope, exp_minus_one_minus(x - 2)

    for at in ([0.3, 2.1, 7.5], [8.5, 40.0, 3e3]):  # below and above where the series begins
        x = torch.tensor(at[:1] if shared else at, dtype=torch.float64, requires_grad=True)
        scaled = (lambda x: parts(x)[:2]) if at[0] > 8 else parts  # exp(40) is too large to be differenced
        assert torch.autograd.gradgradcheck(scaled, x, atol=1e-7)
