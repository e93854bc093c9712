"""Periods: how a log is cut into slices of time, and a warning where a slice is nearly empty."""

import warnings
from typing import Any, Literal, get_args

import numpy as np

from pyro_popbias.errors import ConfigError, DataWarning
from pyro_popbias.registry import nearest
from pyro_popbias.validation import require_integer

PeriodBy = Literal["time", "count"]
SPARSE = 0.01  # a period with fewer rows than this share of N / T is nearly empty
SHOWN = 12
MOST_PERIODS = 10_000


def require_periods(value: Any) -> int:
    """Return a number of periods, or refuse the value.

    Raises:
        ConfigError: it is not an integer in its range.
    """
    return require_integer("periods", value, 1, MOST_PERIODS)


def require_period_by(value: Any) -> PeriodBy:
    """Return how periods are cut, or refuse the value.

    Raises:
        ConfigError: it is neither "time" nor "count".
    """
    choices = get_args(PeriodBy)
    if value not in choices:
        raise ConfigError(
            f"PB-C331: period_by={value!r} is not a way to cut periods{nearest(str(value), choices)} Choices: time, count"
        )
    chosen: PeriodBy = value
    return chosen


def period_edges(time: np.ndarray, periods: int, by: PeriodBy) -> np.ndarray:
    """Return the times at which periods begin and end, `(T + 1,)`.

    Args:
        time: `(N,)` times.
        periods: T.
        by: "time" for slices of equal length, "count" for slices of equally many rows; rows of one time are never
            separated, so that many rows of one time make counts unequal.
    """
    if by == "time":
        return np.linspace(time.min(), time.max(), periods + 1)
    ordered = np.sort(time)
    first = np.arange(periods) * len(ordered) // periods  # position of each period's first row
    return np.append(ordered[first], ordered[-1])


def spacing(edges: np.ndarray | None) -> PeriodBy:
    """Return how stored edges were cut: "time" where they are equally far apart."""
    if edges is None or np.allclose(edges, np.linspace(edges[0], edges[-1], len(edges)), rtol=1e-12, atol=0.0):
        return "time"
    return "count"


def warn_of_sparse_periods(count: np.ndarray, periods: int, by: PeriodBy) -> None:
    """Warn of periods with next to no rows, as one wrong time makes them.

    Args:
        count: `(T,)` rows of each.
        periods: T.
        by: how they were cut.
    """
    sparse = int((count < max(1.0, SPARSE * count.sum() / periods)).sum())
    if sparse:
        shown = "/".join(map(str, count[:SHOWN])) + ("/..." if periods > SHOWN else "")
        remedy = (
            "check the first and last times for wrong ones, or cut the log into equal counts with period_by='count'"
            if by == "time"
            else "many rows share one time: use fewer periods"
        )
        message = f"PB-D310: {sparse} of {periods} periods have next to no rows (rows per period: {shown}); {remedy}"
        warnings.warn(message, DataWarning, stacklevel=4)
