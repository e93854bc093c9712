"""Some distributions out of a batch of distributions, and the batch in one dimension."""

from torch import Tensor
from torch.distributions import Distribution


def take(distribution: Distribution, index: Tensor) -> Distribution:
    """Return the distributions at some positions, `(B,)`, of a batch `(D,)` of distributions of one family.

    Args:
        distribution: `(D,)` distributions with independent parameters, such as Gamma, LogNormal, Weibull and Normal.
        index: `(B,)` positions.
    """
    parameters = {name: getattr(distribution, name).index_select(0, index) for name in distribution.arg_constraints}
    return type(distribution)(**parameters, validate_args=False)


def flat(distribution: Distribution) -> Distribution:
    """Return a batch of distributions, of any shape, in one dimension.

    Args:
        distribution: distributions with independent parameters.
    """
    parameters = {name: getattr(distribution, name).reshape(-1) for name in distribution.arg_constraints}
    return type(distribution)(**parameters, validate_args=False)
