"""Tables of parameters, one row per user, item or cell: how rows are gathered, and how they are updated.

`torch.index_select` has a fast and repeatable backward pass where `weight[index]` has neither. Above some size the
gradient becomes sparse, so that a step touches the rows of its batch only and costs the same with any number of rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

SPARSE_ABOVE = 4_000_000  # elements; below it a dense gradient and a fused Adam are faster


_ALLOWED: ContextVar[bool] = ContextVar("sparse gradients allowed", default=False)


@contextmanager
def sparse_gradients() -> Iterator[None]:
    """Allow sparse gradients meanwhile: for loops with an optimiser that takes them, as most of torch's do not."""
    token = _ALLOWED.set(True)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def has_sparse_gradient(table: Tensor) -> bool:
    """Return whether `gather` gives this table a sparse gradient here."""
    return _ALLOWED.get() and table.dim() > 1 and table.numel() > SPARSE_ABOVE


def gather(table: Tensor, index: Tensor) -> Tensor:
    """Return the rows of a table.

    Args:
        table: `(R, ...)` one row per user, item or cell.
        index: `(B,)` codes.

    Returns:
        `(B, ...)`.
    """
    if has_sparse_gradient(table):
        return torch.nn.functional.embedding(index, table, sparse=True)
    return table.index_select(0, index)
