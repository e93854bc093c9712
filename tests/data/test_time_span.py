import warnings

import numpy as np
import pytest

from pyro_popbias.data.time_span import check_span, refuse_two_units
from pyro_popbias.errors import DataError, DataWarning

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    "times",
    [
        pytest.param([0.0, 1.0, 2.0], id="small numbers"),
        pytest.param(RANDOM.uniform(1.2e9, 1.7e9, 1000), id="seconds"),
        pytest.param(RANDOM.uniform(1.2e12, 1.7e12, 1000), id="milliseconds"),
        pytest.param(RANDOM.uniform(1.2e18, 1.7e18, 1000), id="nanoseconds"),
        pytest.param(RANDOM.uniform(0, 1.7e9, 1000), id="milliseconds since the start, 20 days"),
        pytest.param(RANDOM.uniform(0, 2.6e8, 10_000), id="milliseconds since the start, 3 days"),
        pytest.param(RANDOM.uniform(0, 1e12, 100_000), id="nanoseconds since the start"),
        pytest.param([0.0, 0.0], id="one time"),
    ],
)
def test_one_unit_and_other_numbers_are_quiet(times):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_span(np.asarray(times), "time")


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([1.5e9, 1.5e12, 1.6e9], r"PB-D072: column 'time' mixes .* in 3 rows: 2 in seconds, 1 in milliseconds; bring"),
        ([1.5e12, 1.5e12, 1.6e15, 1.6e18], "PB-D072: .*2 in milliseconds, 1 in microseconds, 1 in nanoseconds"),
        ([0.0, 1.7e9, 1.65e9], r"PB-D460: .*54 years apart, from 1970-.*: 1 of 3 .*1 on 1970-01-01.*first at row 0\)"),
        ([1.6e12, 1.6e12, -1.6e12, 1.6e12], "PB-D460: .*101 years apart"),
    ],
)
def test_mixed_up_times_are_refused(times, message):
    with pytest.raises(DataError, match=message):
        check_span(np.array(times), "time")


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_unlikely_times_are_told(scale):
    with pytest.warns(DataWarning, match=r"PB-D461: .*1 of 4 times on 1970-01-01.*first at row 0"):
        check_span(scale * np.array([0.0, 1.5e9, 1.55e9, 1.52e9]), "time")
    with pytest.warns(DataWarning, match=r"PB-D462: .*1 of 3 times in the future, up to 2066-.*first at row 2"):
        check_span(scale * np.array([1.6e9, 1.7e9, 3.05e9]), "time")


def test_first_and_last_tell_files_of_two_units():
    with pytest.raises(DataError, match=r"PB-D072: .*1 in seconds, 1 in milliseconds"):
        refuse_two_units(np.array([1.2e9, 1.6e12]), "time")
    refuse_two_units(np.array([1.0, 1e12]), "time")
