"""Special functions without cancellation, in the dtype of their argument.

Each is one node of the autograd graph with an analytic derivative, several times faster than autograd through both
branches of its definition. Where a gradient is itself differentiated, as for a Hessian, it is computed by torch's functions.
Sources: the Stirling series of log Gamma and its derivatives, DLMF 5.11.1, 5.11.2, 5.15.8.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from pyro_popbias.distributions.traced import may_have

# coefficients of 1/x, 1/x^3, ... in log Gamma's series, and of their derivatives
_VALUE = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_SLOPE = (-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132, 691 / 32760, -1 / 12)
_CURVATURE = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)
_STIRLING_FROM = 8.0  # above it the series are exact to float64
_SERIES_BELOW = 0.1  # below it exp(d) - 1 - d cancels
_NEWTON_STEPS = 5


def _odd_powers(coefficients: tuple[float, ...], inverse: Tensor) -> Tensor:
    """Return sum_k c_k inverse^(2k+1)."""
    square = inverse.square()
    total = torch.full_like(inverse, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * square + coefficient
    return total * inverse


def _once_if_shared(x: Tensor) -> Tensor:
    """Return one element of an expanded tensor whose elements are all the same, as for a prior shared by all cells."""
    return x[:1] if x.dim() == 1 and x.stride(0) == 0 and len(x) else x


class _LogGammaRemainder(Function):
    """F(x) and F'(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value, and keep what the gradient needs."""
        once = _once_if_shared(x)
        log, inverse = torch.log(once), 1 / once
        value = 0.5 * (math.log(2 * math.pi) - log) + _odd_powers(_VALUE, inverse)
        slope = inverse * (_odd_powers(_SLOPE, inverse) - 0.5)
        small = once <= _STIRLING_FROM
        if may_have(small):
            value = torch.where(small, torch.lgamma(once) - once * log + once, value)
            slope = torch.where(small, torch.digamma(once) - log, slope)
        ctx.save_for_backward(x, slope)
        return value.expand(x.shape), slope.expand(x.shape)

    @staticmethod
    def backward(ctx: Any, grad_value: Tensor, grad_slope: Tensor) -> Tensor:
        """Return the gradient of each argument."""
        x, slope = ctx.saved_tensors
        once = _once_if_shared(x)
        small = once <= _STIRLING_FROM
        inverse = 1 / once
        if torch.is_grad_enabled():  # the gradient of the gradient is asked for
            inverse = torch.where(small, 1 / _STIRLING_FROM, inverse)
            series = inverse * (_odd_powers(_SLOPE, inverse) - 0.5)
            slope = torch.where(small, torch.digamma(once) - torch.log(once), series)
        curvature = inverse.square() * (0.5 + _odd_powers(_CURVATURE, inverse))
        if may_have(small):
            # polygamma is accurate to 5e-10, enough for a gradient, and faster than zeta
            curvature = torch.where(small, torch.polygamma(1, once) - 1 / once, curvature)
        return grad_value * slope + grad_slope * curvature


def log_gamma_remainder(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return F(x) = log Gamma(x) - x log x + x and F'(x) = digamma(x) - log x, for x > 0.

    Both are small for large x, where their terms are huge.
    """
    value: Tensor
    slope: Tensor
    value, slope = _LogGammaRemainder.apply(x)
    return value, slope


class _ExpMinusOneMinus(Function):
    @staticmethod
    def forward(ctx: Any, d: Tensor) -> Tensor:
        """Return the value, and keep what the gradient needs."""
        slope = torch.expm1(d)
        ctx.save_for_backward(d, slope)
        series = torch.ones_like(d)
        for k in range(10, 2, -1):  # d^2/2 (1 + d/3 (1 + d/4 (1 + ...)))
            series = 1 + d / k * series
        return torch.where(d.abs() < _SERIES_BELOW, 0.5 * d.square() * series, slope - d)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Return the gradient of each argument."""
        d, slope = ctx.saved_tensors
        return grad * (torch.expm1(d) if torch.is_grad_enabled() else slope)


def exp_minus_one_minus(d: Tensor) -> Tensor:
    """Return exp(d) - 1 - d, which is never below 0."""
    value: Tensor = _ExpMinusOneMinus.apply(d)
    return value


def trigamma(x: Tensor) -> Tensor:
    """Return the derivative of digamma, by zeta(2, x): torch's polygamma(1, x) is only accurate to 5e-10."""
    return torch.special.zeta(torch.full_like(x, 2.0), x)


def inverse_trigamma(y: Tensor) -> Tensor:
    """Return the x > 0 at which trigamma is y > 0, to rounding, without gradient."""
    with torch.no_grad():
        # 1/x + 1/x^2 = y is above it, as 1/x + 1/x^2 is above trigamma; 1/trigamma is convex, so that Newton's method
        # on it goes down from there and does not overshoot
        x = (1 + torch.sqrt(1 + 4 * y)) / (2 * y)
        for _ in range(_NEWTON_STEPS):
            value, slope = trigamma(x), -2 * torch.special.zeta(torch.full_like(x, 3.0), x)
            x = x + value * (1 - value / y) / slope
    return x


def bounded_exp(log_z: Tensor) -> Tensor:
    """Return exp(log_z), clamped below the largest number of its dtype.

    Infinity would be the right limit of a saturation, but its gradient there would be 0 times infinity.
    """
    return torch.exp(torch.clamp(log_z, max=math.log(torch.finfo(log_z.dtype).max) - 1))
