"""Adam on a large table whose steps read and write the rows of their batch only, and end where dense Adam ends.

Under dense Adam a row without a gradient goes on moving by its momentum, while both of its moments decay::

    p_T = p_t - sum_{j = t + 1..T} rate_j b1^(j - t) m_t / (1 - b1^j) / (sqrt(b2^(j - t) v_t / (1 - b2^j)) + epsilon)
        = p_t - m_t A^2 / (A sqrt(v_t) + epsilon B)    to the second order in epsilon over sqrt(v_t)
    A = sum_j rate_j (b1 / sqrt(b2))^(j - t) sqrt(1 - b2^j) / (1 - b1^j)
    B = sum_j rate_j (b1 / b2)^(j - t) (1 - b2^j) / (1 - b1^j)

Both sums belong to t and not to the row, so that each step adds a term to some hundreds of sums, whatever the size of the
table, and a row catches up with all steps that it missed when it is next read.

What such a step costs is the reading and writing of rows that no cache holds. On a CPU the tables are in large pages, which NumPy
asks for and torch does not, and rows are written by NumPy, which copies them whole: together that halves the time.
"""

import math
from collections.abc import Callable
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

FIRST_MEMORY = 0.9  # the first of Adam's betas
EPSILON = 1e-8
LEAST = 1e-30  # in place of 0, where no step was missed
VANISHED = 1e-18  # share of a first move, below which later ones do not count
Fusion = Callable[[Callable[..., tuple[Tensor, Tensor]]], Callable[..., tuple[Tensor, Tensor]]]
BLOCK = 65_536  # rows that catch up at once where all do


def separately(function: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return a function of tensors as it is, one operation after the other."""
    return function


@final
class RowTable:
    """A table of parameters, `(R, ...)` one row per user, item or cell, with Adam's moments of each row.

    Args:
        parameter: the table.
        rate: learning rate.
        memory: the second of Adam's betas.
        fused: `separately`, or what makes one operation of a function of tensors where there is a compiler.

    Attributes:
        reads: `(G,)` codes and rows `(G, ...)` read since the last step, whose `grad` is what that step will use.
    """

    def __init__(self, parameter: Parameter, rate: float, memory: float, *, fused: Fusion) -> None:
        self.parameter = parameter
        self.reads: list[tuple[Tensor, Tensor]] = []
        self._rate, self._memory, self._fused = rate, memory, fused
        decays = torch.tensor([FIRST_MEMORY / math.sqrt(memory), FIRST_MEMORY / memory], dtype=torch.float64)
        self._horizon = math.ceil(math.log(VANISHED) / math.log(decays.max()))
        ages = torch.arange(self._horizon, 0, -1, dtype=torch.float64).unsqueeze(-1)
        self._powers = (decays**ages).to(parameter.device)
        parameter.data = _in_large_pages(parameter.detach())
        # both moments of a row beside each other, so that a read of them is one
        self._moments = _in_large_pages(parameter.new_zeros(1).expand(len(parameter), 2, *parameter.shape[1:]))
        self._caught: list[Tensor] = []  # moments of the rows of each read, and their factors since
        self._first = self._steps = 0
        self._start_sums()

    def _start_sums(self) -> None:
        """Count steps that rows have missed from here on."""
        device = self.parameter.device
        self._first = self._steps
        self._last = torch.full((len(self.parameter),), self._steps, device=device)
        self._sums = torch.zeros(
            1_024, 2, dtype=torch.float64, device=device
        )  # A and B of each step from the first on, with room

    def read(self, code: Tensor) -> Tensor:
        """Return the rows of distinct codes, `(G, ...)` as dense Adam would have them now, a leaf for the next step's gradient.

        Args:
            code: `(G,)`.
        """
        with torch.no_grad():
            rows, moments = self._catch_up(code)
        if torch.is_grad_enabled():
            self.reads.append((code, rows.requires_grad_()))
            self._caught.append(moments)
        return rows

    def _catch_up(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows `(G, ...)` and their moments `(G, 2, ...)` after all steps so far."""
        rows, moments = self.parameter.index_select(0, code), self._moments.index_select(0, code)
        last = self._last.index_select(0, code)
        shape = -1, *[1] * (rows.dim() - 1)
        missed = (self._steps - last).to(rows.dtype).reshape(shape)
        reach = self._sums.index_select(0, last - self._first).to(rows.dtype).reshape(-1, 2, *shape[1:])
        return self._fused(_caught_up)(rows, moments, reach, FIRST_MEMORY**missed, self._memory**missed)

    def sparse_gradient(self) -> Tensor | None:
        """Return the gradient of the rows that were read as one of the table, in the order of their codes; None without."""
        reads = [(code, rows.grad) for code, rows in self.reads if rows.grad is not None]
        if not reads:
            return None
        index, values = (torch.cat(parts) for parts in zip(*reads, strict=True))
        whole = torch.sparse_coo_tensor(index.unsqueeze(0), values, self.parameter.shape, check_invariants=False)
        return whole.coalesce()

    def set_sparse_gradient(self, gradient: Tensor) -> None:
        """Let the next step have a gradient of the table, `(R, ...)` sparse, in place of those of the rows that were read."""
        self.forget()
        rows = self.read(gradient.indices()[0])
        rows.grad = gradient.values()

    def forget(self) -> None:
        """Forget what was read."""
        self.reads, self._caught = [], []

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Update the rows that were read, by their gradients, at `factor` times the rate; count the step for all others."""
        updates, rate = self._updates(), self._rate * factor
        self._steps += 1
        for code, rows, gradient, moments in updates:
            unbiased = math.sqrt(1 - self._memory**self._steps)
            numbers = (self._memory, EPSILON * unbiased, rate * unbiased / (1 - FIRST_MEMORY**self._steps))
            rows, moments = self._fused(_updated)(rows, moments, gradient, rows.new_tensor(numbers))
            _write(self.parameter, code, rows)
            _write(self._moments, code, moments)
            self._last.index_fill_(0, code, self._steps)
        self.forget()
        self._add_move(rate)

    def _updates(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Return codes, rows, gradients and moments of what was read; where a row was read twice, once with both gradients."""
        reads = [
            (code, rows.detach(), rows.grad, moments)
            for (code, rows), moments in zip(self.reads, self._caught, strict=True)
            if rows.grad is not None
        ]
        if len(reads) < 2:
            return reads
        code, place = torch.cat([each[0] for each in reads]).unique(return_inverse=True)
        gradients = torch.cat([each[2] for each in reads])
        gradient = gradients.new_zeros(len(code), *gradients.shape[1:]).index_add_(0, place, gradients)
        rows, moments = self._catch_up(code)
        return [(code, rows, gradient, moments)]

    def _add_move(self, rate: float) -> None:
        """Add what the present step moves a row without gradient, over m / sqrt(v) of its last step, to the sum of that step."""
        second = 1 - self._memory**self._steps
        terms = torch.tensor([math.sqrt(second), second], dtype=torch.float64, device=self._sums.device)
        number = self._steps - self._first
        recent = self._sums[max(0, number - self._horizon) : number]
        recent += rate / (1 - FIRST_MEMORY**self._steps) * terms * self._powers[-len(recent) :]
        if number + 1 == len(self._sums):
            self._sums = torch.cat([self._sums, torch.zeros_like(self._sums)])

    @torch.no_grad()
    def settle(self) -> None:
        """Let all rows catch up, so that the table is what dense Adam would have made of it."""
        for code in torch.arange(len(self.parameter), device=self.parameter.device).split(BLOCK):
            block = slice(int(code[0]), int(code[-1]) + 1)
            self.parameter[block], self._moments[block] = self._catch_up(code)
        self._start_sums()

    def state(self) -> dict[str, Tensor]:
        """Return what a settled table needs to go on, by name."""
        return {"step": torch.tensor(self._steps), "moments": self._moments}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned."""
        self._steps = int(state["step"])
        self._moments.copy_(state["moments"])
        self._start_sums()


def _caught_up(rows: Tensor, moments: Tensor, reach: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows and moments after steps without gradient.

    Args:
        rows: `(G, ...)`.
        moments: `(G, 2, ...)`.
        reach: `(G, 2, 1)` A and B.
        first: `(G, 1)` what is left of the first moment.
        second: likewise.
    """
    (m, v), (a, b) = moments.unbind(1), reach.unbind(1)
    moved = rows - m * (a.square() / (a * v.sqrt() + (EPSILON * b + LEAST)))
    return moved, torch.stack([m * first, v * second], dim=1)


def _updated(rows: Tensor, moments: Tensor, gradient: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows and moments after a step.

    Args:
        rows: `(G, ...)`.
        moments: `(G, 2, ...)`.
        gradient: `(G, ...)`.
        numbers: `(3,)` memory of the second moment, epsilon and rate of the step, corrected for bias.
    """
    memory, epsilon, rate = numbers.unbind()
    m, v = moments.unbind(1)
    m = m + (1 - FIRST_MEMORY) * (gradient - m)
    v = memory * v + (1 - memory) * gradient.square()
    return rows - rate * m / (v.sqrt() + epsilon), torch.stack([m, v], dim=1)


def _in_large_pages(table: Tensor) -> Tensor:
    """Return a copy of a table."""
    if table.is_cuda:
        return table.contiguous().clone()
    found = torch.from_numpy(np.empty(table.shape, dtype=torch.empty(0, dtype=table.dtype).numpy().dtype))
    return found.copy_(table)


def _write(table: Tensor, code: Tensor, rows: Tensor) -> None:
    """Put rows at some places of a table."""
    if table.is_cuda:
        table.index_copy_(0, code, rows)
    else:
        table.detach().numpy()[code.numpy()] = rows.numpy()
