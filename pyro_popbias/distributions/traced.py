"""Branches on values, for programs that may be traced: a compiler records what they do, with values that it does not know.

What is taken here holds for the whole process: gradients on a GPU are computed by a thread of torch's own. Another thread
that computes with known values meanwhile takes the branch for all values, which has the same result.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

_tracing: list[None] = []  # one entry for each program that is traced


@contextmanager
def values_unknown() -> Iterator[None]:
    """Take it meanwhile that no value is known."""
    _tracing.append(None)
    try:
        yield
    finally:
        _tracing.pop()


def are_known() -> bool:
    """Return whether values are known."""
    return not _tracing


def may_have(mask: Tensor) -> bool:
    """Return whether any of some truth values is true, or may be."""
    return bool(_tracing) or bool(mask.any())
