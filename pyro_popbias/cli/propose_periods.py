"""How many periods the times of a table allow: slices in which popularity may differ, each with enough rows of an item."""

from dataclasses import dataclass

import numpy as np

from pyro_popbias.data.periods import SPARSE, PeriodBy
from pyro_popbias.data.time_span import DAY, FIRST, LAST, UNITS

MOST = 12
LEAST = 4  # times of two periods
ROWS = 20  # of an item in a period, on average, from which what differs between periods is more than noise


@dataclass(frozen=True)
class Periods:
    """A number of periods, and why.

    Attributes:
        number: of slices.
        by: "time" for slices of equal length, "count" for slices of equally many rows.
        why: what it rests on, in a sentence.
    """

    number: int
    by: PeriodBy
    why: str


def propose_periods(times: np.ndarray | None, items: int) -> Periods:
    """Return the periods of a table.

    Args:
        times: `(N,)` seconds, or numbers of any meaning; None where there are none.
        items: K.
    """
    if times is None:
        return Periods(1, "time", "Without times there is one: popularity stands still.")
    per_item, distinct = len(times) / items, len(np.unique(times))
    number = min(MOST, int(per_item // ROWS), 2 * distinct // LEAST)
    if number < 2:
        why = f"An item has {per_item:.0f} rows on average, too few for several periods of {ROWS} rows or more each."
        if distinct < LEAST:
            many = "is 1 distinct time" if distinct == 1 else f"are {distinct} distinct times"
            why = f"There {many}, too few for periods."
        return Periods(1, "time", why)
    count = np.histogram(times, bins=number)[0]
    by: PeriodBy = "time" if count.min() >= max(1.0, SPARSE * count.mean()) else "count"
    how = (
        f"of {_span(times, number)} each"
        if by == "time"
        else "of equally many rows, as most rows lie in a part of the time"
    )
    return Periods(
        number, by, f"{number} slices {how}, with {per_item / number:.0f} rows of an item in each on average."
    )


def _span(times: np.ndarray, number: int) -> str:
    """Return the length of a slice in words."""
    length, middle = float(np.ptp(times)) / number, float(np.median(times))
    scale = next((scale for scale in UNITS.values() if FIRST <= middle / scale <= LAST), None)
    if scale is None:
        return f"{length:.3g} units of the column"
    days = length / scale / DAY
    return f"{days:.3g} days" if days >= 1 else f"{days * 24:.3g} hours"
