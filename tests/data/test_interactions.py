import numpy as np
import pandas as pd
import pytest

from pyro_popbias import Interactions
from pyro_popbias.errors import ConfigError, DataError

FRAME = pd.DataFrame({"user": ["a", "b", "a"], "item": ["x", "x", "y"], "label": [1, 0, 1], "time": [0.0, 5.0, 10.0]})


def test_codes_and_counts(frame):
    before = frame.copy(deep=True)
    events = Interactions.from_frame(frame, label="label")
    pd.testing.assert_frame_equal(frame, before)
    assert events.users[events.user].tolist() == frame["user"].tolist()
    assert events.items[events.item].tolist() == frame["item"].tolist()
    table = events.catalogue.cell_frame().set_index("item")
    rows = frame.groupby("item")["label"]
    assert table["count"].to_dict() == rows.count().to_dict()
    assert table["positives"].to_dict() == rows.sum().to_dict()
    assert (len(events), events.cells) == (len(frame), frame["item"].nunique())


def test_positives_only():
    events = Interactions.from_frame(FRAME[["user", "item"]])
    assert events.label is None
    assert events.catalogue.positives.tolist() == [2, 1]
    assert "positives only" in repr(events)
    assert events.to_frame().columns.tolist() == ["user", "item"]


def test_index_is_ignored():
    index = pd.MultiIndex.from_tuples([("k", 1)] * len(FRAME))
    for changed in (FRAME.set_axis(index), FRAME.set_axis([7] * len(FRAME)), FRAME.set_axis([2, 1, 0])):
        events = Interactions.from_frame(changed, label="label", time="time")
        pd.testing.assert_frame_equal(events.to_frame(), FRAME)


def test_arrow_tables_are_taken():
    import pyarrow as pa

    events = Interactions.from_frame(pa.Table.from_pandas(FRAME), label="label", time="time")
    pd.testing.assert_frame_equal(events.to_frame(), FRAME)


def test_periods(frame):
    events = Interactions.from_frame(frame, label="label", time="time", periods=4)
    edges = np.linspace(frame["time"].min(), frame["time"].max(), 5)
    expected = np.clip(np.searchsorted(edges, frame["time"], side="right") - 1, 0, 3)
    assert events.period.tolist() == expected.tolist()
    assert events.cell.tolist() == (events.item * 4 + expected).tolist()
    assert events.catalogue.count.sum() == len(frame)
    assert events.to_frame()["period"].tolist() == expected.tolist()


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_dates_become_seconds(zone):
    dates = pd.to_datetime([0, 5, 10], unit="s", utc=True).tz_convert(zone)
    events = Interactions.from_frame(FRAME.assign(time=dates), time="time", periods=2)
    assert events.time.tolist() == [0, 5, 10]
    assert events.period.tolist() == [0, 1, 1]


def test_split(events):
    train, test = events.split("random", test=0.2, seed=3)
    assert (len(train), len(test)) == (320, 80)
    both = pd.concat([train.to_frame(), test.to_frame()]).sort_values("time", ignore_index=True)
    pd.testing.assert_frame_equal(both, events.to_frame().sort_values("time", ignore_index=True))
    again, _ = events.split("random", test=0.2, seed=3)
    other, _ = events.split("random", test=0.2, seed=4)
    assert again.time.tolist() == train.time.tolist() != other.time.tolist()


def test_split_takes_period_edges_from_train(frame):
    events = Interactions.from_frame(frame, label="label", time="time", periods=3)
    train, test = events.split(test=0.5)
    assert train.edges[[0, -1]].tolist() == [train.time.min(), train.time.max()]
    assert test.edges is train.edges
    assert set(test.period) <= {0, 1, 2}


def test_integers_of_numpy_are_seeds(events):
    one, other = (events.split(seed=seed)[1].to_frame() for seed in (np.int64(3), 3))
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2, True, float("nan"), "0.1", 1e-9])
def test_wrong_shares(events, share):
    with pytest.raises(ConfigError, match="PB-C007: test="):
        events.split(test=share)


def test_unknown_split(events):
    with pytest.raises(ConfigError, match=r"PB-C006: unknown split 'randm'; did you mean 'random'\?"):
        events.split("randm")


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        pytest.param([1, 2], {}, r"PB-D001: expected a DataFrame, got list; pass a pandas DataFrame", id="1 list"),
        pytest.param(None, {}, "PB-D001: .*got NoneType", id="1 none"),
        pytest.param(FRAME["user"], {}, "PB-D001: .*got Series", id="1 series"),
        pytest.param(FRAME[:0], {}, r"PB-D002: the data have 0 rows \(columns: user, item", id="2"),
        pytest.param(pd.DataFrame(), {}, "PB-D005: no column 'user'", id="2 nothing"),
        pytest.param(
            FRAME, {"user": "usr"}, r"PB-D005: no column 'usr'; did you mean 'user'\? Columns: user, item", id="5"
        ),
        pytest.param(FRAME, {"user": " User "}, r"PB-D005: .*did you mean 'user'\?", id="6"),
        pytest.param(
            FRAME.set_axis(["user", "item", "item", "time"], axis=1),
            {},
            "PB-D007: duplicate column names: item",
            id="7",
        ),
        pytest.param(FRAME, {"item": "user"}, "PB-D043: user and item are the same column", id="43"),
        pytest.param(FRAME.assign(user=["a", None, "b"]), {}, "PB-D029: column 'user' has 1 missing", id="29"),
        pytest.param(FRAME.assign(item=["a", "", "b"]), {}, "PB-D039: column 'item' has 1 empty", id="39"),
        pytest.param(FRAME.assign(label=[0, 1, 2]), {"label": "label"}, "PB-D052: column 'label'", id="52"),
        pytest.param(FRAME.assign(time=[0, 1, np.nan]), {"time": "time"}, "PB-D073: .*1 missing times", id="73"),
        pytest.param(
            FRAME.assign(time=[0, np.inf, -np.inf]),
            {"time": "time"},
            "PB-D073: column 'time' has 2 infinite times in 3 rows, first at rows 1, 2; fix",
            id="73 infinite",
        ),
        pytest.param(FRAME.assign(time=["1", "2", "3"]), {"time": "time"}, "PB-D071: .*pandas.to_datetime", id="71"),
    ],
)
def test_bad_frames(frame, options, message):
    before = frame.copy(deep=True) if isinstance(frame, pd.DataFrame) else None
    with pytest.raises(DataError, match=message) as caught:
        Interactions.from_frame(frame, **options)
    assert caught.value.exit_code == 3
    if before is not None:
        pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("periods", [0, -1, 2.5, True, "3", 10_001])
def test_wrong_periods(periods):
    with pytest.raises(ConfigError, match="PB-C084: periods must be an integer from 1 to 10000") as caught:
        Interactions.from_frame(FRAME, time="time", periods=periods)
    assert caught.value.exit_code == 2


def test_periods_need_times():
    with pytest.raises(ConfigError, match="PB-C005: periods=2 needs a time column"):
        Interactions.from_frame(FRAME, periods=2)


def test_not_a_sequence(events):
    with pytest.raises(TypeError, match="use to_frame"):
        list(events)
