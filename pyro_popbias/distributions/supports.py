"""Comparison of the supports of distributions."""

from torch.distributions import constraints


def _is_positive(support: constraints.Constraint) -> bool:
    """Return whether a support is (0, inf) or [0, inf), which differ by a null set."""
    return isinstance(support, constraints.greater_than | constraints.greater_than_eq) and support.lower_bound == 0


def same_support(one: constraints.Constraint, other: constraints.Constraint) -> bool:
    """Return whether two supports are the same up to boundary points of probability 0."""
    if _is_positive(one) or _is_positive(other):
        return _is_positive(one) and _is_positive(other)
    return type(one) is type(other)


def lies_inside(inner: constraints.Constraint, outer: constraints.Constraint) -> bool:
    """Return whether a support equals another one or is a part of it; every support lies inside the real line."""
    return same_support(inner, outer) or type(outer) is type(constraints.real)
