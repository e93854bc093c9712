"""Tables of parameters, one row per user, item or cell: how a program reads their rows.

`torch.index_select` has a fast and repeatable backward pass where `weight[index]` has neither. Of a large table training
keeps rows that are behind (`training.row_adam`): while a step runs, programs read such rows from its optimiser, so that
the step touches the rows of its batch only and costs the same with any number of rows.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

Reader = Callable[[Tensor], Tensor]  # from distinct codes `(G,)` to rows `(G, ...)`

_READERS: ContextVar[Mapping[int, Reader]] = ContextVar("readers of large tables by identity", default={})  # noqa: B039  never changed


@contextmanager
def rows_read_by(readers: Mapping[int, Reader]) -> Iterator[None]:
    """Let `gather` read some tables by functions meanwhile.

    Args:
        readers: by the identity of the table.
    """
    token = _READERS.set(readers)
    try:
        yield
    finally:
        _READERS.reset(token)


def gather(table: Tensor, index: Tensor) -> Tensor:
    """Return the rows of a table.

    Args:
        table: `(R, ...)` one row per user, item or cell.
        index: `(B,)` codes.

    Returns:
        `(B, ...)`.
    """
    reader = _READERS.get().get(id(table))
    if reader is None:
        return table.index_select(0, index)
    code, place = index.unique(return_inverse=True)
    return reader(code).index_select(0, place)


def is_read(table: Tensor) -> bool:
    """Return whether `gather` reads a table by a function here."""
    return id(table) in _READERS.get()


def gather_distinct(table: Tensor, code: Tensor) -> Tensor:
    """Return what `gather` does, of codes `(G,)` that are all different."""
    reader = _READERS.get().get(id(table))
    return table.index_select(0, code) if reader is None else reader(code)


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
