"""The log density of a Normal distribution around 0, of values or of the squares of many."""

import math

from torch import Tensor


def log_normal(value: Tensor, scale: float = 1.0) -> Tensor:
    """Return the log density of Normal(0, scale), in nats, shaped as the value."""
    return log_normal_of_squares(value.square(), scale)


def log_normal_of_squares(squares: Tensor, scale: float, *, dim: int = 1) -> Tensor:
    """Return the joint log density of independent Normal(0, scale) coordinates, in nats.

    Args:
        squares: sum of the squares of the coordinates, any shape.
        scale: standard deviation of each.
        dim: number of coordinates.
    """
    return -squares / (2 * scale**2) - dim * (math.log(scale) + 0.5 * math.log(2 * math.pi))
