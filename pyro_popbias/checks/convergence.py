"""Whether phase two has converged: R-hat of the iterates of q's parameters (Welandawe et al., JMLR 2024).

Phase two runs in identical cycles, over each of which the learning rate falls. Within a cycle the iterates become less
noisy, so parts of a cycle are not samples of one distribution; whole cycles are, once q is stationary. R-hat compares
the last two: where a parameter still drifts, the means of the cycles differ by more than the iterates scatter. With two
windows the R-hat of one parameter is itself noisy, so the maximum over thousands says nothing; the median is reported.
Where negatives are sampled, training goes on until it is small, or for as many cycles as it may.
"""

import math
from typing import Protocol

from pyro_popbias.checks.finding import Finding
from pyro_popbias.training.iterates import STATIONARY, Iterates, median_r_hat

LARGEST = STATIONARY


class Traced(Protocol):
    """A fit, or the result of a training."""

    @property
    def iterates(self) -> Iterates:
        """Moments of the path of q's parameters."""


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
    remedy = "" if passed else "q has not converged: raise training.guide_learning_rate or training.epochs"
    said = f"{words}; {remedy}." if remedy else f"{words}."
    return (Finding("convergence", "R-hat of iterates", value, LARGEST, passed, said, remedy),)
