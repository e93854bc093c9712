"""Splits: who is held out, over every way to split."""

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.data.holdout import hold_out
from pyro_popbias.data.splits import SPLITS


def log(rows=3_000, users=60, items=40, seed=0, **columns):
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, items + 1)
    frame = pd.DataFrame(
        {
            "user": rng.integers(users, size=rows).astype(str),
            "item": rng.choice(items, size=rows, p=share / share.sum()).astype(str),
            "label": rng.integers(2, size=rows),
            "time": rng.permutation(rows).astype(float),
        }
    )
    return pb.Interactions.from_frame(frame, label="label", time="time", **columns)


def rows_of(events):
    return set(events.to_frame().drop(columns="period", errors="ignore").itertuples(index=False, name=None))


@pytest.mark.parametrize("how", SPLITS)
def test_train_and_test_are_the_log(how):
    events = log()
    train, test = events.split(how, seed=3)
    assert len(train) + len(test) == len(events)
    assert rows_of(train) | rows_of(test) == rows_of(events)
    if how != "leave-last":
        assert len(test) == 300
    again = events.split(how, seed=3)[1]
    np.testing.assert_array_equal(again.time, test.time)


@pytest.mark.parametrize("how", SPLITS)
def test_period_edges_are_those_of_train(how):
    train, test = log(periods=4).split(how)
    assert train.periods == test.periods == 4
    np.testing.assert_array_equal(train.edges, test.edges)
    assert train.edges[-1] >= train.time.max()


def test_temporal_has_the_latest_rows():
    train, test = log().split("temporal", test=0.2)
    assert train.time.max() < test.time.min()


def test_leave_last_has_the_last_row_of_each_user():
    events = log(rows=200)
    frame = events.to_frame()
    last = frame.loc[frame.groupby("user")["time"].idxmax()]
    expected = last[frame.groupby("user").size().loc[last["user"]].to_numpy() > 1]
    assert set(events.split("leave-last")[1].time) == set(expected["time"])


def test_item_uniform_has_equally_many_rows_of_each_item():
    train, test = log().split("item-uniform")
    frame = test.to_frame()
    count = frame["item"].value_counts().reindex(train.items, fill_value=0)
    whole = log().to_frame()["item"].value_counts().reindex(train.items)
    short = count < count.max() - 1  # items that have not enough rows
    assert (count <= whole // 2).all()
    assert (count[short] >= whole[short] // 2 - 1).all()  # one may be a user's only row
    assert short.mean() < 0.2
    assert set(test.items) <= set(train.items)
    assert set(test.users) <= set(train.users)


def test_item_uniform_takes_random_rows_of_an_item():
    events = log()
    taken = np.zeros(len(events))
    for seed in range(200):
        taken[events.split("item-uniform", seed=seed)[1].time.astype(int)] += 1
    item = events.item[np.argsort(events.time)]
    largest = np.bincount(item).argmax()
    counts = taken[item == largest]
    share = counts.sum() / len(counts) / 200
    # counts are Binomial(200, share): their variance over rows
    assert counts.var() == pytest.approx(200 * share * (1 - share), rel=0.35)


@pytest.mark.parametrize("how", SPLITS)
def test_what_judges_leaves_every_user_and_cell_a_training_row(how):
    events = log(rows=400, periods=3)
    train, held_out = hold_out(events, np.arange(len(events)), 0.2, 0, how=how)
    assert sorted([*train, *held_out]) == list(range(len(events)))
    for codes in (events.user, events.cell):
        assert set(codes[held_out]) <= set(codes[train])


@pytest.mark.parametrize("how", ["temporal", "leave-last"])
def test_splits_in_time_need_times(how):
    events = pb.Interactions.from_frame(log().to_frame().drop(columns="time"), label="label")
    with pytest.raises(pb.ConfigError, match=f"PB-C005: the split '{how}' needs a time column"):
        events.split(how)


def test_the_error_names_the_nearest_split():
    with pytest.raises(pb.ConfigError, match="unknown split 'item_uniform'; did you mean 'item-uniform'"):
        log().split("item_uniform")


def test_rows_that_cannot_be_split_are_refused():
    events = log().take(np.arange(1))
    with pytest.raises(pb.ConfigError, match=r"PB-C007: test=0\.1 of 1 rows"):
        events.split("random")
    users = pb.Interactions.from_frame(
        pd.DataFrame({"user": list("abc"), "item": list("xyz"), "time": [1, 2, 3]}), time="time"
    )
    with pytest.raises(pb.ConfigError, match="PB-C007: the split 'leave-last' of 3 rows leaves"):
        users.split("leave-last", test=0.5)


@pytest.mark.parametrize("test", [0.001, 0.999, 0.0, 1.0, -0.1, 1, "half", None])
def test_a_share_that_leaves_a_side_empty_is_refused(test):
    events = pb.Interactions.from_frame(pd.DataFrame({"user": list("abcd"), "item": list("wxyz")}))
    with pytest.raises(pb.ConfigError, match=r"PB-C007: test=.* of 4 rows leaves train or test empty; give a share"):
        events.split(test=test)
