"""Whether phase two has converged: R-hat of the iterates of q's parameters (Welandawe et al., JMLR 2024).

Phase two runs in identical cycles, over each of which the learning rate falls. Within a cycle the iterates become less
noisy, so parts of a cycle are not samples of one distribution; whole cycles are, once q is stationary. R-hat compares
the last two: where a parameter still drifts, the means of the cycles differ by more than the iterates scatter. With two
windows the R-hat of one parameter is itself noisy, so the maximum over thousands says nothing; the median is reported.
"""

import math
from typing import Protocol

import torch
from torch import Tensor

from pyro_popbias.checks.finding import Finding
from pyro_popbias.training.iterates import Iterates

LARGEST = 1.1


class Traced(Protocol):
    """A fit, or the result of a training."""

    @property
    def iterates(self) -> Iterates:
        """Moments of the path of q's parameters."""


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


def convergence(fit: Traced) -> tuple[Finding, ...]:
    """Return whether q's parameters were stationary at the end of training.

    Args:
        fit: a fit, or the result of a training.
    """
    value = median_r_hat(fit.iterates)
    if math.isnan(value):
        words = "Not checked: phase two of training ran for less than two cycles."
        return (Finding("convergence", "R-hat of iterates", value, LARGEST, True, words),)
    passed = value <= LARGEST
    words = (
        f"median R-hat of q's parameters over the last two cycles of training is {value:.3f}; the bound is {LARGEST}"
    )
    remedy = "" if passed else "; q has not converged: raise training.guide_learning_rate or training.epochs"
    return (Finding("convergence", "R-hat of iterates", value, LARGEST, passed, f"{words}{remedy}."),)
