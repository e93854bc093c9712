import warnings

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.errors import DataWarning

LOG = pd.DataFrame(
    {
        "user": ["a", "a", "b", "b", "c"],
        "item": ["x", "x", "y", "y", "x"],
        "label": [1, 0, 1, 1, 0],
        "time": [1.0, 2.0, 3.0, 4.0, 5.0],
    }
)


def quiet(frame, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return pb.Interactions.from_frame(frame, **options)


def test_both_labels_at_different_times_are_exposure_data():
    assert len(quiet(LOG, label="label", time="time")) == 5


def test_repeats_without_times_are_plays_and_exposures():
    twice = pd.concat([LOG, LOG], ignore_index=True)
    assert len(quiet(twice)) == 10
    assert len(quiet(twice, label="label")) == 10


def test_repeated_rows_are_counted_and_shown():
    twice = pd.concat([LOG, LOG.iloc[[2, 4]]], ignore_index=True)
    match = (
        r"PB-D311: 2 of 7 rows repeat an earlier row with the same user, item, time, label \(row 5: user 'b', item 'y'; "
        r"row 6: user 'c', item 'x'\).*drop_duplicates\(\)"
    )
    with pytest.warns(DataWarning, match=match):
        events = pb.Interactions.from_frame(twice, label="label", time="time")
    assert len(events) == 7
    with pytest.warns(DataWarning, match=r"PB-D311: 2 of 7 rows .*the same user, item, time \("):
        pb.Interactions.from_frame(twice, time="time")


def test_contradictory_rows_are_counted_and_shown():
    both = pd.concat([LOG, LOG.iloc[:4].assign(label=lambda rows: 1 - rows["label"])], ignore_index=True)
    match = (
        r"PB-D312: 4 combinations .*both label 0 and label 1 \(row 5: .*; row 6: .*; row 7: [^;]*; \.\.\.\); keep one"
    )
    with pytest.warns(DataWarning, match=match):
        pb.Interactions.from_frame(both, label="label", time="time")


def test_times_that_are_days_do_not_tell_rows_apart():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.integers([5, 5, 4], size=(1000, 3)), columns=["user", "item", "time"])
    assert len(quiet(frame, time="time")) == 1000


def test_copies_without_times_are_told_where_no_pair_has_both_labels():
    rows = LOG.iloc[[0, 2, 4]].drop(columns="time")
    several = pd.concat([rows] * 8, ignore_index=True)
    match = r"PB-D311: 21 of 24 rows repeat .*the same user, item, label \(row 3: user 'a', item 'x'.*no pair has both"
    with pytest.warns(DataWarning, match=match):
        pb.Interactions.from_frame(several, label="label")
    assert len(quiet(several)) == len(quiet(several.assign(label=1), label="label")) == 24
    assert len(quiet(several.head(6), label="label")) == 6  # separate events may agree by chance
    assert len(quiet(pd.concat([several, rows.assign(label=1 - rows["label"])]), label="label")) == 27


def test_real_logs_are_quiet(movielens):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pb.read_movielens(movielens, periods=10)
