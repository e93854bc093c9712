"""The loss and its gradient as machine code: `[training] compile = true`.

The Pyro programs stay what says what is computed. They run once for each shape of batch with tensors that record what is
done to them (`torch.fx`), the gradient included, and `torch.compile` makes one function of the record, in which neither
Pyro nor Python nor autograd is left and most operations are fused. Batches are padded to one shape (`data.padded`), so
that there are two shapes in an epoch, whose batches differ by a row at most. The first result of each shape is compared
with what the programs themselves return.
"""

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from functools import cache
from typing import Any, final

import pyro
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import Parameter

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.data.batch import Batch, CellDraws, UniqueIds
from pyro_popbias.data.padded import fill, pad
from pyro_popbias.distributions.traced import values_unknown
from pyro_popbias.errors import ConfigError, NumericalError
from pyro_popbias.objective import Terms
from pyro_popbias.sparse_lookup import rows_read_by
from pyro_popbias.training.row_adam import RowTable

TOLERANCE = 1e-6  # relative, of the loss and of the largest gradient of a parameter
COMPILERS = ("g++", "clang++", "c++")
GROUPS: dict[str, Any] = {"users": UniqueIds, "items": UniqueIds, "cells": CellDraws}  # cached properties of a batch

Compiled = Callable[[list[Tensor], list[Tensor]], list[Tensor]]

# torch says of every operation what its result looks like, but for the gradient of a Gamma draw
_SHAPES = torch.library.Library("aten", "IMPL")


def _describe_gamma_gradient() -> None:
    has = torch._C._dispatch_has_kernel_for_dispatch_key("aten::_standard_gamma_grad", "Meta")
    if not has:
        _SHAPES.impl("_standard_gamma_grad", lambda value, output: torch.empty_like(value), "Meta")


@torch.library.custom_op("pyro_popbias::index_add", mutates_args=())
def _index_add(into: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Return the sums of torch's own `index_add`, which compiled code would add up in no fixed order, with locks."""
    return into.index_add(dim, index, source)


@_index_add.register_fake
def _index_add_like(into: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    return torch.empty_like(into)


def _keep_sums(record: GraphModule) -> None:
    """Leave the sums of rows in a record to torch."""
    for node in record.graph.nodes:
        if node.target is torch.ops.aten.index_add.default:
            node.target = torch.ops.pyro_popbias.index_add.default
    record.recompile()


def require_compiler(device: str) -> None:
    """Refuse to compile where there is nothing to do it.

    Raises:
        ConfigError: there is no C++ compiler, which torch needs for functions of tensors on a CPU.
    """
    if device == "cpu" and not any(shutil.which(name) for name in COMPILERS):
        raise ConfigError(
            f"PB-C490: [training] compile = true needs a C++ compiler, and none of {', '.join(COMPILERS)} is on the path; "
            "install one, or leave compile out"
        )


@cache
def fused(function: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return a function of tensors as one operation, for any number of rows."""
    compiled: Callable[..., tuple[Tensor, Tensor]] = torch.compile(function, dynamic=True)

    def run(*given: Tensor) -> tuple[Tensor, Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch, about torch
            return compiled(*given)

    return run


@final
class CompiledLoss:
    """The objective of a pair and its gradient, compiled for each shape of batch that comes.

    Args:
        pair: model and guide.
        loss: their objective, a module over a batch.

    Raises:
        ConfigError: there is no compiler.
    """

    def __init__(self, pair: Pair, loss: nn.Module) -> None:
        require_compiler(pair.device)
        _describe_gamma_gradient()
        self._pair, self._loss = pair, loss
        self._functions: dict[tuple[Any, ...], Compiled] = {}
        self._codes: dict[str, str] = {}  # of each large table, whose rows it has
        self._groups: dict[tuple[bool, ...], set[str]] = {}  # what the programs ask batches of each kind for

    def backward(self, batch: Batch, tables: Sequence[RowTable] = (), share: Tensor | None = None) -> Tensor:
        """Return the loss of a batch, a scalar, and leave its gradient with the parameters and with the rows of large tables.

        Args:
            batch: the batch.
            tables: the large tables, whose rows it reads.
            share: of the loss, whose gradient is taken; None for all.

        Raises:
            NumericalError: compiled code differs from what the programs return.
            ConfigError: the programs cannot be compiled.
        """
        padded = self._padded(batch, tables)
        parameters = {name: each for name, each in self._loss.named_parameters() if each.requires_grad}
        rows = self._read(batch, parameters, tables)
        values = [
            fill(rows[name].detach(), len(self._code(padded, name))) if name in rows else each.detach()
            for name, each in parameters.items()
        ]
        tensors = _tensors(padded)
        named = [*zip(parameters, values, strict=True), *tensors.items()]
        key = tuple((name, each.shape) for name, each in named)
        function = self._functions.get(key)
        if function is None:
            function = self._functions[key] = self._compile(padded, list(parameters), values, list(tensors.values()))
        loss, terms, *gradients = function(values, list(tensors.values()))
        for (name, parameter), whole in zip(parameters.items(), gradients, strict=True):
            gradient = whole if share is None else whole.mul_(share)
            if name in rows:
                rows[name].grad = gradient[: len(rows[name])]
            else:
                parameter.grad = gradient
        self._pair.objective.latest = Terms(*terms.unbind())
        return loss

    def _read(self, batch: Batch, parameters: Mapping[str, Parameter], tables: Sequence[RowTable]) -> dict[str, Tensor]:
        """Return the rows that a batch reads of each large table, `(G, ...)` by the parameter's name."""
        found = {}
        for table in tables:
            (name,) = (name for name, each in parameters.items() if each is table.parameter)
            if name not in self._codes:
                self._codes[name] = self._whose(batch, table)
            found[name] = table.read(self._code(batch, name))
        return found

    def _code(self, batch: Batch, name: str) -> Tensor:
        return batch.users.code if self._codes[name] == "users" else batch.items.code

    def _whose(self, batch: Batch, table: RowTable) -> str:
        """Return whether a large table has a row for each user or for each item, found by running the programs once."""
        read: list[Tensor] = []

        def reader(code: Tensor) -> Tensor:
            read.append(code)
            return table.parameter.detach().index_select(0, code)

        with torch.no_grad(), rows_read_by({id(table.parameter): reader}), self._random_state_kept():
            self._loss(batch)
        for group in ("users", "items"):
            if read and all(code is getattr(batch, group).code for code in read):
                return group
        raise ConfigError(
            f"PB-C492: [training] compile = true cannot compile a table of {table.parameter.numel():,} numbers that is read "
            "neither by user nor by item; leave compile out"
        )

    def _padded(self, batch: Batch, tables: Sequence[RowTable]) -> Batch:
        rows, events = self._pair.rows, self._pair.events
        number, periods = len(batch.cell_index), events.periods
        fixed = self._pair.guide.popularity.draws_all_cells or rows.latent == "interaction"
        asked = self._groups_of(batch) | ({"users", "items"} if tables else set())
        # a batch has the cells of its rows, or all cells of its rows' items
        items, cells = min(len(events.items), number), min(events.cells, number)
        whole = rows.has_whole_items
        return pad(
            batch,
            draws=len(batch.cell) if fixed else self._most(batch.draws, number, whole=whole),
            cells=items * periods if whole else cells,
            users=min(len(events.users), number) if "users" in asked else None,
            items=items if "items" in asked else None,
            periods=periods if whole else 1,
        )

    def _most(self, draws: int, rows: int, *, whole: bool) -> int:
        """Return the largest number of draws of cells in a batch of some rows."""
        events = self._pair.events
        if whole:
            return min(len(events.items) * draws, rows) * events.periods
        return min(events.cells * draws, rows)

    def _groups_of(self, batch: Batch) -> set[str]:
        """Return which distinct codes the programs ask a batch for: all cached properties but these are tensors of its own."""
        kind = tuple(value is None for value in vars(batch).values() if not isinstance(value, int | float))
        if kind not in self._groups:
            fresh = replace(batch)
            with torch.no_grad(), self._random_state_kept():
                self._loss(fresh)
            self._groups[kind] = set(GROUPS) & set(vars(fresh))
        return self._groups[kind]

    def _compile(self, batch: Batch, names: list[str], values: list[Tensor], tensors: list[Tensor]) -> Compiled:
        def evaluate(values: list[Tensor], tensors: list[Tensor]) -> list[Tensor]:
            return self._evaluate(_with_tensors(batch, tensors), names, values)

        record = self._record(evaluate, values, tensors)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch, about torch
            from torch._inductor import config

            with config.patch(fallback_random=True):  # the same draws as the programs'
                function: Compiled = torch.compile(record, dynamic=False)
                try:
                    with self._random_state_kept():
                        found = function(values, tensors)
                except RuntimeError as error:
                    raise ConfigError(
                        "PB-C493: [training] compile = true, and torch cannot compile here: "
                        f"{type(error).__name__} {str(error).partition(chr(10))[0]}; leave compile out"
                    ) from error
        with self._random_state_kept():
            expected = evaluate(values, tensors)
        _compare(["loss", "terms", *names], found, expected)
        return function

    def _random_state_kept(self) -> AbstractContextManager[None]:
        """Leave random generators as they are, that of the device too, so that the next draws are the same again."""
        return torch.random.fork_rng([torch.cuda.current_device()] if self._pair.device == "cuda" else [])

    def _record(self, evaluate: Compiled, values: list[Tensor], tensors: list[Tensor]) -> GraphModule:
        """Return what the programs do to tensors of some shapes.

        Raises:
            ConfigError: what they do depends on values.
        """
        try:
            with values_unknown(), pyro.validation_enabled(False):
                found: GraphModule = make_fx(evaluate, tracing_mode="fake", _allow_non_fake_inputs=True)(
                    values, tensors
                )
        except (RuntimeError, NotImplementedError) as error:
            study = self._pair.study
            raise ConfigError(
                f"PB-C491: [training] compile = true cannot compile model {study.model.name!r} with guide {study.guide.name!r} "
                f"here: {type(error).__name__} {str(error).partition(chr(10))[0]}; leave compile out"
            ) from error
        _keep_sums(found)
        return found

    def _evaluate(self, batch: Batch, names: Sequence[str], values: Sequence[Tensor]) -> list[Tensor]:
        """Return the loss, its three terms `(3,)`, and the gradient of each parameter."""
        leaves = [each.detach().requires_grad_() for each in values]
        given = dict(zip(names, leaves, strict=True))
        # of a large table the rows of the batch take the table's place
        with rows_read_by({id(rows): _constantly(rows) for name, rows in given.items() if name in self._codes}):
            loss = torch.func.functional_call(self._loss, given, (batch,))
        found = self._pair.objective.latest
        terms = torch.stack([found.expected_log_likelihood, found.kl.double(), found.log_prior.double()])
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        filled = [
            torch.zeros_like(leaf) if each is None else each for leaf, each in zip(leaves, gradients, strict=True)
        ]
        return [loss.detach(), terms, *(each.detach() for each in filled)]


def _constantly(rows: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda _: rows


def _tensors(batch: Batch) -> dict[str, Tensor]:
    """Return the tensors of a padded batch by name."""
    own = {each.name: getattr(batch, each.name) for each in fields(batch)}
    for group, kind in GROUPS.items():
        if group in batch.__dict__:
            own |= {f"{group}.{each.name}": getattr(getattr(batch, group), each.name) for each in fields(kind)}
    return {name: value for name, value in own.items() if isinstance(value, Tensor)}


def _with_tensors(batch: Batch, tensors: Sequence[Tensor]) -> Batch:
    """Return a batch with other tensors in place of its own, in the order of `_tensors`."""
    given: dict[str, Any] = dict(zip(_tensors(batch), tensors, strict=True))
    changed = replace(batch, **{name: value for name, value in given.items() if "." not in name})
    for group, kind in GROUPS.items():
        if group in batch.__dict__:
            parts = {each.name: given[f"{group}.{each.name}"] for each in fields(kind)}
            changed.__dict__[group] = kind(**parts)  # where the cached property keeps it
    return changed


def _compare(names: Sequence[str], found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for name, own, other in zip(names, found, expected, strict=True):
        if not other.numel() or not torch.isfinite(other).all():
            continue  # what is not finite is taken again at a lower rate
        error = float((own - other).abs().max() / other.abs().max().clamp(min=1e-300))
        if not error <= TOLERANCE:  # nor where it is not a number
            raise NumericalError(
                f"PB-N020: compiled code is off by {error:.1e} of the largest value of {name.removesuffix('_unconstrained')}, "
                f"more than {TOLERANCE:g}; leave [training] compile out"
            )
