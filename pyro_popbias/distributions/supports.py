"""Supports of distributions: which are the same, and which lie inside another."""

from torch.distributions import constraints


def _is_positive(support: constraints.Constraint) -> bool:
    """Return whether a support is (0, inf) or [0, inf), which differ by nothing that has mass."""
    return isinstance(support, constraints.greater_than | constraints.greater_than_eq) and support.lower_bound == 0


def same_support(one: constraints.Constraint, other: constraints.Constraint) -> bool:
    """Return whether two supports are the same but for boundaries without mass."""
    if _is_positive(one) or _is_positive(other):
        return _is_positive(one) and _is_positive(other)
    return type(one) is type(other)


def lies_inside(inner: constraints.Constraint, outer: constraints.Constraint) -> bool:
    """Return whether a support is another one or a part of it; every support lies inside the real line."""
    return same_support(inner, outer) or type(outer) is type(constraints.real)
