"""What a training remembers of the way that q's parameters went: their means and variances over two windows of steps."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from pyro_popbias.sparse_lookup import gather_distinct

STATIONARY = 1.1  # median R-hat of q's parameters up to which they count as stationary
TRACED = 2000  # numbers of each parameter, evenly spaced: a step costs the same with any number of cells


class Iterates(nn.Module):
    """Running moments of some of the numbers that are learned, over the present window and the one before.

    Buffers, so that checkpoints and run folders save them; row 0 is the window before.

    Args:
        parameters: whose iterates they are; `record` must be given the same.

    Attributes:
        number: `(2,)` steps seen.
        mean: `(2, n)` of the iterates.
        squares: `(2, n)` sums of squared distances from the mean.
    """

    number: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        super().__init__()
        size = len(traced(parameters))
        self.register_buffer("number", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(2, size, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(2, size, dtype=torch.float64))

    @torch.no_grad()
    def turn(self) -> None:
        """Begin a new window; the present one becomes the one before."""
        for part in (self.number, self.mean, self.squares):
            part[0] = part[1]
            part[1] = 0

    @torch.no_grad()
    def record(self, parameters: Iterable[Parameter]) -> None:
        """Take note of the parameters after a step."""
        # Welford's update
        value = traced(parameters)
        self.number[1] += 1
        distance = value - self.mean[1]
        self.mean[1] += distance / self.number[1]
        self.squares[1] += distance * (value - self.mean[1])


def r_hat(iterates: Iterates) -> Tensor:
    """Return R-hat of each recorded parameter of q over the last two cycles, `(n,)`, without those that never moved.

    Args:
        iterates: as a training has left them.
    """
    within = (iterates.squares / (iterates.number - 1).clamp(min=1).unsqueeze(-1)).mean(0)
    # variance of two means
    between = 0.5 * (iterates.mean[0] - iterates.mean[1]).square()
    seen = (within > 0) & (iterates.number.min() > 1)
    share = 1 - 1 / iterates.number.min().clamp(min=1)
    return torch.sqrt(share + between[seen] / within[seen])


def median_r_hat(iterates: Iterates) -> float:
    """Return the median R-hat; NaN if phase two ran for less than two cycles."""
    each = r_hat(iterates)
    return float(each.median()) if len(each) else math.nan


def traced(parameters: Iterable[Tensor]) -> Tensor:
    """Return evenly spaced numbers of parameters, `(n,)`."""
    return torch.cat(
        [_of_table(each) if each.dim() == 2 else _evenly(each.detach().reshape(-1)) for each in parameters]
    )


def _of_table(table: Tensor) -> Tensor:
    place = _evenly(torch.arange(table.numel(), device=table.device)).long()
    row, column = place // table.shape[1], place % table.shape[1]
    distinct, among = row.unique_consecutive(return_inverse=True)
    return gather_distinct(table, distinct).detach()[among, column].double()


def _evenly(numbers: Tensor) -> Tensor:
    return numbers[:: -(-len(numbers) // TRACED)].double()
