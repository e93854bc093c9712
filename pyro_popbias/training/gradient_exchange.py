"""The gradients of a step, summed over ranks: one message of each rank to all others.

| part of the message | of |
| --- | --- |
| one float64 each | whether all is finite; rows of each table's side; gradients of numbers and of what all cells share |
| rows | users of the batch: codes and the gradients of all their tables; with sampled negatives also items and cells |

Rows are sent up to a capacity that has been enough so far, so that no rank has to ask how many there are; what is beyond comes
in a second message. A step's traffic depends on the batch, and not on the number of users or items.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import final

import torch
from torch import Tensor
from torch.nn import Parameter

from pyro_popbias.data.batch import Batch
from pyro_popbias.training.ranks import Ranks

CODES: Mapping[str, Callable[[Batch], Tensor]] = {
    "user": lambda batch: batch.user,
    "item": lambda batch: batch.item,
    "cell": lambda batch: batch.cell,
}
SPARE = 1.125  # capacity over the most rows so far


@final
class GradientExchange:
    """Sums gradients over ranks, in place.

    Args:
        ranks: the processes.
        tables: those that several ranks may have rows of in a batch, by what their rows are of.
        others: parameters that every batch may have a gradient of.
    """

    def __init__(self, ranks: Ranks, tables: Mapping[str, Sequence[Parameter]], others: Sequence[Parameter]) -> None:
        self._ranks, self._others = ranks, list(others)
        self._tables = {side: list(each) for side, each in tables.items() if each}
        self._capacity = dict.fromkeys(self._tables, 0)

    def __call__(self, batch: Batch, *, finite: bool) -> bool:
        """Sum the gradients; return whether those of all ranks are finite.

        Args:
            batch: this rank's.
            finite: whether this rank's loss and gradients are.
        """
        own = {
            side: _Rows.of(distinct(CODES[side](batch), len(tables[0])), tables)
            for side, tables in self._tables.items()
        }
        others = [parameter for parameter in self._others if parameter.grad is not None]
        counts_of = [float(not finite), *(float(len(rows.code)) for rows in own.values())]
        numbers = [torch.tensor(counts_of, dtype=torch.float64)]
        numbers += [_dense(parameter).reshape(-1).double() for parameter in others]
        head = torch.cat([part.to(numbers[-1].device) for part in numbers])
        parts = [rows.message(0, self._capacity[side]) for side, rows in own.items()]
        received = self._ranks.gathered(torch.cat([head.view(torch.uint8), *parts]))
        heads = torch.stack([message[: 8 * len(head)].view(torch.float64) for message in received])
        # in the order of ranks, so that all have the same bits
        broken, *counts = heads[:, : 1 + len(own)].T.tolist()
        if any(broken):
            return False
        position = 8 * len(head)
        for (side, rows), number in zip(own.items(), counts, strict=True):
            size = rows.bytes(self._capacity[side])
            messages = [message[position : position + size] for message in received]
            self._add(side, rows, [int(each) for each in number], messages)
            position += size
        self._set(others, heads[:, 1 + len(own) :].sum(0))
        return True

    def _add(self, side: str, rows: "_Rows", counts: list[int], messages: list[Tensor]) -> None:
        """Sum the gradients of the tables of a side over ranks."""
        capacity, most = self._capacity[side], max(counts)
        found = [
            rows.read(message, min(number, capacity), capacity)
            for message, number in zip(messages, counts, strict=True)
        ]
        if most > capacity:
            size = most - capacity
            more = self._ranks.gathered(rows.message(capacity, size))
            self._capacity[side] = int(SPARE * most)
            for each, message, number in zip(found, more, counts, strict=True):
                rest = rows.read(message, max(0, number - capacity), size)
                each[:] = [torch.cat(both) for both in zip(each, rest, strict=True)]
        codes = [each[0] for each in found]
        for k, table in enumerate(self._tables[side], start=1):
            _sum(table, rows.code, codes, [each[k] for each in found], rank=self._ranks.rank)

    @staticmethod
    def _set(parameters: list[Parameter], total: Tensor) -> None:
        """Give parameters their gradients, which stand one behind the other."""
        for parameter, part in zip(parameters, total.split([each.numel() for each in parameters]), strict=True):
            parameter.grad = part.reshape(parameter.shape).to(parameter.dtype)


@final
class _Rows:
    """The rows of a rank's batch in the gradients of some tables.

    Args:
        code: `(G,)` which.
        parts: the rows of each table, `(G, ...)`.
    """

    def __init__(self, code: Tensor, parts: list[Tensor]) -> None:
        self.code = code
        self._parts = [code, *parts]

    @classmethod
    def of(cls, code: Tensor, tables: Sequence[Parameter]) -> "_Rows":
        """Return the rows of some codes; a sparse gradient has the rows of the batch, in their order."""
        parts = []
        for table in tables:
            grad = table.grad
            assert grad is not None  # noqa: S101  a batch has rows of every table
            parts.append(grad.coalesce().values() if grad.is_sparse else grad.index_select(0, code))
        return cls(code, parts)

    def bytes(self, size: int) -> int:
        """Return how long a message of some rows is; a part takes up whole numbers of eight bytes."""
        return sum(_padded(size * _width(part)) for part in self._parts)

    def message(self, start: int, size: int) -> Tensor:
        """Return `size` rows from one on as bytes; beyond the last one they mean nothing."""
        found = self.code.new_zeros(self.bytes(size), dtype=torch.uint8)
        number, position = max(0, min(size, len(self.code) - start)), 0
        for part in self._parts:
            length = number * _width(part)
            found[position : position + length] = part[start : start + number].reshape(-1).view(torch.uint8)
            position += _padded(size * _width(part))
        return found

    def read(self, message: Tensor, number: int, size: int) -> list[Tensor]:
        """Return the first rows of a message of `size` rows, of any rank: the codes and the rows of each table."""
        found, position = [], 0
        for part in self._parts:
            rows = message[position : position + number * _width(part)]
            found.append(rows.view(part.dtype).reshape(number, *part.shape[1:]))
            position += _padded(size * _width(part))
        return found


def distinct(code: Tensor, size: int) -> Tensor:
    """Return the distinct codes, in their order.

    Args:
        code: `(B,)` codes.
        size: number of codes that there are.
    """
    if size > 4 * len(code):  # few rows, many codes: sort the rows
        return code.unique()
    return torch.bincount(code, minlength=size).nonzero().squeeze(-1)


def _width(part: Tensor) -> int:
    """Return the bytes of a row."""
    return part.element_size() * part.shape[1:].numel()


def _padded(size: int) -> int:
    return -(-size // 8) * 8


def _dense(parameter: Parameter) -> Tensor:
    grad = parameter.grad
    assert grad is not None  # noqa: S101  the caller has looked
    return grad.to_dense() if grad.is_sparse else grad


def _sum(table: Parameter, own: Tensor, codes: list[Tensor], rows: list[Tensor], *, rank: int) -> None:
    """Give a table the sum of the gradients of all ranks, added up in the same order on each of them."""
    grad = table.grad
    assert grad is not None  # noqa: S101  a batch has rows of every table
    if grad.is_sparse:
        index = torch.cat(codes).unsqueeze(0)
        table.grad = torch.sparse_coo_tensor(index, torch.cat(rows), table.shape, check_invariants=False).coalesce()
    elif len(codes) == 2:  # two summands commute
        grad.index_add_(0, codes[1 - rank], rows[1 - rank])
    else:
        grad.index_fill_(0, own, 0.0)
        for code, part in zip(codes, rows, strict=True):
            grad.index_add_(0, code, part)
