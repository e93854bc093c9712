"""Selecting from a batch of distributions, and flattening it."""

from torch import Tensor
from torch.distributions import Distribution


def take(distribution: Distribution, index: Tensor) -> Distribution:
    """Return the distributions at given positions of a batch, `(B,)`.

    Args:
        distribution: `(D,)` distributions with independent parameters, such as Gamma, LogNormal, Weibull and Normal.
        index: `(B,)` positions.
    """
    parameters = {name: getattr(distribution, name).index_select(0, index) for name in distribution.arg_constraints}
    return type(distribution)(**parameters, validate_args=False)


def flat(distribution: Distribution) -> Distribution:
    """Return a batch of distributions of any shape as a one-dimensional batch.

    Args:
        distribution: distributions with independent parameters.
    """
    parameters = {name: getattr(distribution, name).reshape(-1) for name in distribution.arg_constraints}
    return type(distribution)(**parameters, validate_args=False)
