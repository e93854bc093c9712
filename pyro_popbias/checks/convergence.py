"""Whether phase two had arrived: R-hat of the iterates of q's parameters (Welandawe et al., JMLR 2024).

Phase two runs in cycles over which the learning rate falls, all alike. Within a cycle the iterates go from noise to
rest, so that its parts are no samples of one distribution; but whole cycles are, once q stands still on average. R-hat
compares the last two: a parameter that still goes somewhere has means that differ by more than its iterates scatter.
With two windows the R-hat of one parameter is itself a noisy number, so that the largest of thousands says nothing: the
median is reported.
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
    """Return R-hat of each traced number of q over the last two cycles, `(n,)`; none of numbers that never moved.

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
    """Return the median R-hat; NaN where phase two has not run for two cycles."""
    each = r_hat(iterates)
    return float(each.median()) if len(each) else math.nan


def convergence(fit: Traced) -> tuple[Finding, ...]:
    """Return whether q's parameters stood still at the end of training.

    Args:
        fit: a fit, or the result of a training.
    """
    value = median_r_hat(fit.iterates)
    if math.isnan(value):
        words = "Not checked: the second phase of training has not run for two cycles."
        return (Finding("convergence", "R-hat of iterates", value, LARGEST, True, words),)
    passed = value <= LARGEST
    words = (
        f"The median R-hat of q's iterates over the last two cycles of training is {value:.3f}; the bound is {LARGEST}"
    )
    remedy = "" if passed else "; q was still moving: raise training.guide_learning_rate or training.epochs"
    return (Finding("convergence", "R-hat of iterates", value, LARGEST, passed, f"{words}{remedy}."),)
