"""Special functions without cancellation, differentiable, in the dtype that they are given.

Sources: the Stirling series of log Gamma and digamma, DLMF 5.11.1 and 5.11.2.
"""

import math

import torch
from torch import Tensor

_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_STIRLING_SLOPE = (-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132, 691 / 32760, -1 / 12)
_STIRLING_FROM = 8.0  # above it the series is exact to float64
_SERIES_BELOW = 0.1  # below it exp(d) - 1 - d cancels


def _odd_powers(coefficients: tuple[float, ...], inverse: Tensor) -> Tensor:
    """Return sum_k c_k inverse^(2k+1)."""
    square = inverse.square()
    total = torch.zeros_like(inverse)
    for coefficient in reversed(coefficients):
        total = total * square + coefficient
    return total * inverse


def log_gamma_remainder(x: Tensor) -> Tensor:
    """Return F(x) = log Gamma(x) - x log x + x for x > 0; small for large x, where its parts are huge."""
    large = x > _STIRLING_FROM
    high = torch.where(large, x, _STIRLING_FROM)
    low = torch.where(large, 1.0, x)
    series = 0.5 * torch.log(2 * math.pi / high) + _odd_powers(_STIRLING, 1 / high)
    return torch.where(large, series, torch.lgamma(low) - low * torch.log(low) + low)


def log_gamma_remainder_slope(x: Tensor) -> Tensor:
    """Return F'(x) = digamma(x) - log x for x > 0."""
    large = x > _STIRLING_FROM
    high = torch.where(large, x, _STIRLING_FROM)
    low = torch.where(large, 1.0, x)
    series = -0.5 / high + _odd_powers(_STIRLING_SLOPE, 1 / high) / high
    return torch.where(large, series, torch.digamma(low) - torch.log(low))


def exp_minus_one_minus(d: Tensor) -> Tensor:
    """Return exp(d) - 1 - d, which is never below 0."""
    small = d.abs() < _SERIES_BELOW
    near = torch.where(small, d, 0.0)
    far = torch.where(small, 1.0, d)
    series = torch.ones_like(near)
    for k in range(10, 2, -1):  # d^2/2 (1 + d/3 (1 + d/4 (1 + ...)))
        series = 1 + near / k * series
    return torch.where(small, 0.5 * near.square() * series, torch.expm1(far) - far)


def trigamma(x: Tensor) -> Tensor:
    """Return the derivative of digamma, by zeta(2, x): torch's polygamma(1, x) is only good to 5e-10."""
    return torch.special.zeta(torch.full_like(x, 2.0), x)
