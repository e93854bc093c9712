"""Some laws out of a batch of laws, and the batch in one dimension."""

from torch import Tensor
from torch.distributions import Distribution


def take(law: Distribution, index: Tensor) -> Distribution:
    """Return the laws at some positions, `(B,)`, of a batch `(D,)` of laws of one family.

    Args:
        law: `(D,)` laws with independent parameters, such as Gamma, LogNormal, Weibull and Normal.
        index: `(B,)` positions.
    """
    parameters = {name: getattr(law, name).index_select(0, index) for name in law.arg_constraints}
    return type(law)(**parameters, validate_args=False)


def flat(law: Distribution) -> Distribution:
    """Return a batch of laws, of any shape, in one dimension.

    Args:
        law: laws with independent parameters.
    """
    parameters = {name: getattr(law, name).reshape(-1) for name in law.arg_constraints}
    return type(law)(**parameters, validate_args=False)
