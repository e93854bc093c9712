"""Times that cannot be meant: of two units in one column, over more than 50 years, in the future, or at the epoch.

Numbers may be in any unit and from any start. They are taken for Unix times only where most of them would be, in one of
the usual units, between 1973 and 2100, and a span of decades in the middle half speaks against it.
"""

import time as clock
import warnings

import numpy as np

from pyro_popbias.data.ids import examples
from pyro_popbias.errors import DataError, DataWarning

FIRST, LAST = 1e8, 4.1e9  # seconds, from 1973 to 2100: in other units no number of one is in the range of another
UNITS = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
DAY, YEAR = 86_400.0, 31_556_952.0  # seconds
MOST_YEARS = 50
SAMPLE = 100_000  # rows that tell where most are
HALF_YEARS = 20  # of the middle half of Unix times


def check_span(times: np.ndarray, name: str) -> None:
    """Refuse times that are mixed up, and warn of those that are unlikely.

    Args:
        times: `(N,)` seconds since 1970, or numbers of any meaning.
        name: the column's name for messages.

    Raises:
        DataError: some are Unix times in one unit and some in another, or they are more than 50 years apart.

    Warns:
        DataWarning: some are in the future, or on 1970-01-01 where others are years later.
    """
    refuse_two_units(times, name)
    if times.max(initial=0.0) < FIRST:
        return
    some = np.sort(times[:: -(-len(times) // SAMPLE)])
    quarter, middle, last = some[-(-(len(some) - 1) // 4)], some[len(some) // 2], some[3 * (len(some) - 1) // 4]
    scale = next((scale for scale in UNITS.values() if FIRST <= middle / scale <= LAST), None)
    if scale is not None and last - quarter <= HALF_YEARS * YEAR * scale:
        _look_at_dates(times / scale, name)


def refuse_two_units(times: np.ndarray, name: str) -> None:
    """Refuse numbers in the ranges of two units, unless others lie between: those are not Unix times.

    Args:
        times: as in `check_span`; of a log, its first and last will do.
        name: the column's name for messages.

    Raises:
        DataError: some are Unix times in one unit and some in another.
    """
    if times.max(initial=0.0) < FIRST * UNITS["milliseconds"]:
        return
    number, outside = {}, times >= FIRST
    for unit, scale in UNITS.items():
        inside = (times >= FIRST * scale) & (times <= LAST * scale)
        outside &= ~inside
        if inside.any():
            number[unit] = int(inside.sum())
    if len(number) > 1 and not outside.any():
        shown = ", ".join(f"{count} in {unit}" for unit, count in number.items())
        raise DataError(
            f"PB-D072: column {name!r} mixes units of Unix times in {len(times)} rows: {shown}; bring all to one"
        )


def _look_at_dates(seconds: np.ndarray, name: str) -> None:
    """Refuse dates over more than 50 years, and warn of the epoch and of the future."""
    epoch = np.abs(seconds) < DAY
    epoch &= ~((seconds >= DAY) & (seconds < FIRST)).any()  # else they are the first of a log that begins at zero
    years = np.ptp(seconds) / YEAR
    if years > MOST_YEARS:
        far = np.abs(seconds - np.median(seconds)) > MOST_YEARS / 2 * YEAR
        first, last = (np.datetime64(int(end), "s") for end in (seconds.min(), seconds.max()))
        missing = f", {epoch.sum()} on 1970-01-01, as missing times are often written" if epoch.any() else ""
        raise DataError(
            f"PB-D460: column {name!r} has times {years:.0f} years apart, from {first} to {last}: {far.sum()} of "
            f"{len(seconds)} are more than {MOST_YEARS // 2} years from the middle{missing} (first at {examples(far)}); fix or "
            "drop them, or divide numbers that are no Unix times by 1e9"
        )
    if epoch.any():
        message = (
            f"PB-D461: column {name!r} has {epoch.sum()} of {len(seconds)} times on 1970-01-01, as missing times are often "
            f"written, first at {examples(epoch)}; fix or drop these rows"
        )
        warnings.warn(message, DataWarning, stacklevel=4)
    future = seconds > clock.time() + DAY
    if future.any():
        message = (
            f"PB-D462: column {name!r} has {future.sum()} of {len(seconds)} times in the future, up to "
            f"{np.datetime64(int(seconds.max()), 's')}, first at {examples(future)}; check their unit and the clocks"
        )
        warnings.warn(message, DataWarning, stacklevel=4)
