"""How far popularity moves from the time of counts to that of the data: an estimate where the counts are a log with times."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from pyro_popbias.assembly import count_statistics
from pyro_popbias.assembly.item_counts import count_items
from pyro_popbias.data.frames import as_times

ITEMS, ROWS = 50, 500  # of two windows, and in each: with fewer the estimate has an error of more than about .1
LEAST, MOST = 1e-3, 10.0  # of the search


@dataclass(frozen=True)
class CountDrift:
    """The sd by which log popularity moves between two consecutive windows of a log.

    Attributes:
        value: the sd.
        rows: rows of the log that were used.
        items: number of items with rows among them.
    """

    value: float
    rows: int
    items: int


def estimate(log: pd.DataFrame, items: "pd.Index[str]") -> CountDrift | None:
    """Return the drift between the two halves of a log's rows by time; None where it has no times, or too few rows or items.

    Args:
        log: item, as text, with `time` where it has one, as `read_counts` gives it.
        items: ids of the data; rows of others are left out.
    """
    if "time" not in log:
        return None
    log = log[log["item"].isin(items)]
    time = as_times(log["time"].reset_index(drop=True), "counts.time")
    if len(time) < 2 * ROWS:
        return None
    late = time > np.sort(time)[(len(time) - 1) // 2]  # rows of one time are not separated
    if min(late.sum(), (~late).sum()) < ROWS:
        return None
    windows = [count_items(log[rows], items) for rows in (~late, late)]
    present = int((windows[0] + windows[1] > 0).sum())
    if present < ITEMS:
        return None
    return CountDrift(drift(*windows), len(time), present)


def drift(before: np.ndarray, after: np.ndarray) -> float:
    """Return the maximum likelihood of the drift given counts of the same items in two windows.

    With A = a + D and B = a + T of the first window, z in the second is Gamma(A', B') with both divided by 1 + drift^2 A, so that
    the second count is negative-binomial.

    Args:
        before: `(K,)` counts of the first window.
        after: `(K,)` counts of the second.
    """
    a = count_statistics.concentration(np.stack([before, after], axis=1))
    level = after.mean()

    def minus_log_likelihood(log_drift: float) -> float:
        z = count_statistics.item_distributions(before, a, math.exp(log_drift))
        shape, rate = z.concentration.numpy(), z.rate.numpy()
        # log p(D) = lgamma(D + A) - lgamma(A) + A log(B / (B + T)) - D log(B + T) + what does not depend on the drift
        terms = gammaln(after + shape) - gammaln(shape) - shape * np.log1p(level / rate) - after * np.log(rate + level)
        return -float(terms.sum())

    found = minimize_scalar(
        minus_log_likelihood, bounds=(math.log(LEAST), math.log(MOST)), method="bounded", options={"xatol": 1e-6}
    )
    return math.exp(found.x)
