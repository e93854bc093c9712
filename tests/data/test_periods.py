import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.assembly.pair import pair
from pyro_popbias.cli.fit_and_compare import declared, read_data
from pyro_popbias.data.periods import period_edges, spacing, warn_of_sparse_periods
from pyro_popbias.errors import ConfigError, DataWarning
from pyro_popbias.storage.identity import identity


def log(times):
    """Return a log of as many rows as times, without repeats."""
    rows = np.arange(len(times))
    return pd.DataFrame({"user": rows % 50, "item": rows // 50, "time": times})


@pytest.fixture
def one_wrong_time():
    return log(np.append(np.linspace(0, 100, 2499), 1e5))


def test_one_wrong_time_is_told_with_the_rows_per_period(one_wrong_time):
    match = r"PB-D310: 4 of 5 periods .*\(rows per period: 2499/0/0/0/1\); .*wrong ones, .*period_by='count'"
    with pytest.warns(DataWarning, match=match):
        pb.Interactions.from_frame(one_wrong_time, time="time", periods=5)


def test_equal_counts(one_wrong_time):
    events = pb.Interactions.from_frame(one_wrong_time, time="time", periods=5, period_by="count")
    assert np.bincount(events.period).tolist() == [500] * 5
    assert events.period.tolist() == sorted(events.period)


@pytest.mark.parametrize(("rows", "periods"), [(10, 3), (7, 7), (101, 10)])
def test_counts_differ_by_one_at_most(rows, periods):
    times = np.random.default_rng(0).exponential(size=rows)
    events = pb.Interactions.from_frame(log(times), time="time", periods=periods, period_by="count")
    count = np.bincount(events.period, minlength=periods)
    assert count.max() - count.min() <= 1
    assert [events.edges[0], events.edges[-1]] == [times.min(), times.max()]


def test_rows_of_one_time_stay_together():
    with pytest.warns(DataWarning, match=r"PB-D310: 1 of 3 .*0/6/3\); many rows share one time: use fewer periods"):
        events = pb.Interactions.from_frame(log([1.0] * 6 + [2.0, 3.0, 4.0]), time="time", periods=3, period_by="count")
    assert set(events.period[:6]) == {1}


def test_split_cuts_train_as_the_log_was_cut(one_wrong_time):
    events = pb.Interactions.from_frame(one_wrong_time, time="time", periods=5, period_by="count")
    train, test = events.split("random", test=0.2)
    assert np.bincount(train.period).tolist() == [400] * 5
    assert test.edges is train.edges


def test_unknown_way_to_cut():
    with pytest.raises(ConfigError, match=r"PB-C331: period_by='counts' .*did you mean 'count'\? Choices: time, count"):
        pb.Interactions.from_frame(log([1.0, 2.0]), time="time", period_by="counts")
    with pytest.raises(ConfigError, match=r"PB-C083: \[data\] period_by = 'rows'"):
        pb.Study(data={"period_by": "rows"})


def test_stored_edges_tell_how_they_were_cut():
    times = np.random.default_rng(0).exponential(size=100)
    assert [spacing(None), *(spacing(period_edges(times, 4, by)) for by in ("time", "count"))] == [
        "time",
        "time",
        "count",
    ]


def test_study_key_reaches_the_rows(tmp_path, one_wrong_time):
    one_wrong_time.to_csv(tmp_path / "log.csv", index=False)
    (tmp_path / "study.toml").write_text(
        '[data]\npath = "log.csv"\nuser = "user"\nitem = "item"\ntime = "time"\nperiods = 5\n'
    )
    study = declared(tmp_path / "study.toml", overrides=["data.period_by=count"])
    assert np.bincount(read_data(study).period).tolist() == [500] * 5


def test_movielens(movielens):
    events = pb.read_movielens(movielens, periods=10, period_by="count")
    assert np.ptp(np.bincount(events.period)) <= 10  # ratings given in one second


def test_a_checkpoint_of_other_periods_does_not_fit(frame):
    cut = {"label": "label", "time": "time", "periods": 2}
    one, other = (
        identity(pair(pb.Interactions.from_frame(frame, **cut, period_by=by))).items() for by in ("time", "count")
    )
    assert {name for name, _ in one ^ other} == {"data.period_by", "data"}


@pytest.mark.usefixtures("short_training")
def test_a_run_keeps_how_its_periods_were_cut(frame, tmp_path):
    frame = frame.assign(time=frame["time"] ** 3)
    events = pb.Interactions.from_frame(frame, label="label", time="time", periods=2, period_by="count")
    training = {"epochs": 1, "batch_size": 100, "device": "cpu"}
    study = pb.Study(model={"affinity": {"name": "embedding", "dim": 2}}, training=training)
    pb.fit(events, study=study, progress=False).save(tmp_path / "run")
    loaded = pb.load(tmp_path / "run").events
    assert loaded.period_by == "count"
    assert np.bincount(loaded.split()[0].period).tolist() == [180, 180]


def test_a_period_with_one_row_of_few_is_not_sparse(recwarn):
    warn_of_sparse_periods(np.array([1, 5, 3]), 3, "time")
    assert not recwarn
    with pytest.warns(DataWarning, match=r"PB-D310: 1 of 3 "):
        warn_of_sparse_periods(np.array([0, 5, 3]), 3, "time")
