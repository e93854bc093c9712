"""Branches on values, for programs that may be traced: a compiler records what they do, with values that it does not know."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_TRACED: ContextVar[bool] = ContextVar("a program is traced", default=False)


@contextmanager
def values_unknown() -> Iterator[None]:
    """Take it meanwhile that no value is known."""
    token = _TRACED.set(True)
    try:
        yield
    finally:
        _TRACED.reset(token)


def are_known() -> bool:
    """Return whether values are known."""
    return not _TRACED.get()


def may_have(mask: Tensor) -> bool:
    """Return whether any of some truth values is true, or may be."""
    return _TRACED.get() or bool(mask.any())
