"""Tables of parameters, one row per user, item or cell: how rows are gathered, and how they are updated.

`torch.index_select` has a fast and repeatable backward pass where `weight[index]` has neither. Above some size the
gradient becomes sparse, so that a step touches the rows of its batch only and costs the same with any number of rows.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

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


@torch.no_grad()
def set_parameter(module: nn.Module, name: str, value: Tensor) -> None:
    """Set a real-valued `PyroParam`; where its shape is another, another tensor takes its place.

    Args:
        module: whose parameter it is.
        name: of the parameter.
        value: what it becomes.
    """
    # Pyro keeps a PyroParam under this name, on the whole real line as it is
    name = f"{name}_unconstrained"
    own = module._parameters[name]
    assert own is not None  # noqa: S101  the module has it
    if own.shape == value.shape:
        own.copy_(value)
    else:
        module._parameters[name] = Parameter(value.detach().to(own).clone(), requires_grad=own.requires_grad)


def adopt_shapes(module: nn.Module, state: Mapping[str, Any], prefix: str) -> None:
    """Give a module's own tensors the shapes of a state that it is about to load: dimensions may have been dropped.

    Args:
        module: whose tensors they are.
        state: tensors by name.
        prefix: in front of the names of the module's own.
    """
    for name, own in module._parameters.items():
        stored = state.get(prefix + name)
        if own is not None and stored is not None and stored.shape != own.shape:
            module._parameters[name] = Parameter(own.new_empty(stored.shape))
