"""Tables in place of interactions: what is read of them, by which words, and what is refused."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import pyro_popbias as pb
from pyro_popbias.assembly.tables import interactions_for, rows_like
from pyro_popbias.errors import ConfigError, DataError

RATINGS = {"user": "userId", "item": "movieId", "label": "rating", "positive_if": ">=4", "time": "timestamp"}
COLUMNS = ("users", "items", "user", "item", "label", "time", "period")


class Stream:
    """A table of which nothing is known but the Arrow interface."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


def of_polars(frame):
    return pytest.importorskip("polars", reason="needs polars").from_pandas(frame)


LIBRARIES = {
    "pandas": lambda frame: frame,
    "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "batches": lambda frame: pa.Table.from_pandas(frame, preserve_index=False).to_reader(),
    "stream": lambda frame: Stream(pa.Table.from_pandas(frame, preserve_index=False)),
    "polars": of_polars,
}


@pytest.fixture
def ratings(frame):
    rating = np.random.default_rng(1).integers(1, 11, len(frame)) / 2
    table = frame.assign(rating=rating).drop(columns="label")
    return table.rename(columns={"user": "userId", "item": "movieId", "time": "timestamp"})


def assert_same(one, other):
    assert one.periods == other.periods
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(one, column), getattr(other, column), err_msg=column)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_table_is_read_as_from_frame_reads_it(ratings, library):
    asked = {**RATINGS, "periods": 3, "period_by": "count"}
    events, study = interactions_for(LIBRARIES[library](ratings), pb.Study(), **asked)
    assert_same(events, pb.Interactions.from_frame(ratings, **asked))
    assert study.data.given() == asked


def test_plain_names_need_no_words(frame):
    events, study = interactions_for(frame.drop(columns="time"), pb.Study(), label=...)
    assert_same(events, pb.Interactions.from_frame(frame.drop(columns="time"), label="label"))
    assert study.data.given() == {"user": "user", "item": "item", "label": "label"}


def test_a_log_of_positives_says_so(frame):
    events, study = interactions_for(frame, pb.Study(), label=None)
    assert events.label is None
    assert study.data.label is None
    again, _ = interactions_for(frame, study, label=...)  # the study names columns, and no label
    assert again.label is None


def test_the_study_names_what_the_call_does_not(ratings):
    study = pb.Study(data={"path": "elsewhere.csv", **RATINGS})
    events, same = interactions_for(ratings, study, label=..., periods=2)
    assert_same(events, pb.Interactions.from_frame(ratings, **RATINGS, periods=2))
    assert same == study.replace("data", periods=2)
    agreed, _ = interactions_for(ratings, study, label="rating", user="userId")
    assert_same(agreed, pb.Interactions.from_frame(ratings, **RATINGS))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"label": "stars"},
            "PB-C511: label='stars' and [data] label = 'rating' of the study do not agree; leave one out",
        ),
        ({"label": None}, "PB-C511: label=None and [data] label = 'rating' of the study do not agree"),
        ({"label": ..., "periods": 4}, "PB-C511: periods=4 and [data] periods = 2 of the study do not agree"),
        (
            {"label": ..., "item_features": pd.DataFrame()},
            "[data] item_features = 'films.csv' of the study do not agree",
        ),
    ],
)
def test_a_study_that_says_otherwise_is_refused(ratings, asked, message):
    study = pb.Study(data={**RATINGS, "periods": 2, "item_features": "films.csv"})
    with pytest.raises(ConfigError, match=re.escape(message)):
        interactions_for(ratings, study, **asked)


def test_features_come_from_the_call_or_from_the_files_of_the_study(frame, tmp_path):
    features = pd.DataFrame({"age": np.arange(20.0)}, index=[f"u{n}" for n in range(20)])
    features.rename_axis("user").reset_index().to_csv(tmp_path / "users.csv", index=False)
    given, _ = interactions_for(frame, pb.Study(), label=..., user_features=features)
    of_file, _ = interactions_for(frame, pb.Study(data={"user_features": str(tmp_path / "users.csv")}), label=...)
    expected = pb.Interactions.from_frame(frame, user_features=features).user_features
    for events in (given, of_file):
        np.testing.assert_array_equal(events.user_features.value, expected.value)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"label": ...},
            "PB-D490: no column 'user' (user=), 'item' (item=), 'label' (label=). Columns: 'userId', 'movieId', 'timestamp', "
            "'rating'. Name them: pb.fit(frame, user='userId', item='movieId', label='rating'); label=None where every row is a "
            "positive",
        ),
        (
            {"user": "userid", "item": "movieId", "label": None},
            "PB-D490: no column 'userid' (user=); did you mean 'userId'? Columns: 'userId', 'movieId', 'timestamp', 'rating'. "
            "Name them: pb.fit(frame, user='userId', item='movieId')",
        ),
        ({"user": "userId", "item": "movieId", "label": "rating", "time": "when"}, "label='rating', time='timestamp')"),
    ],
)
def test_a_wrong_column_says_which_there_are_and_how_to_name_them(ratings, asked, message):
    with pytest.raises(DataError, match=re.escape(message)):
        interactions_for(ratings, pb.Study(), **asked)


def test_columns_that_no_name_tells_are_left_to_the_reader():
    with pytest.raises(DataError, match=re.escape("pb.fit(frame, user=..., item=..., label=...)")):
        interactions_for(pd.DataFrame({"a": [1], "b": [2]}), pb.Study(), label=...)


@pytest.mark.parametrize("wrong", ["ratings.csv", [1, 2], None, pd.Series([1])])
def test_what_is_no_table_is_refused(wrong):
    message = (
        "PB-D491: 'ratings.csv' is the name of a file"
        if isinstance(wrong, str)
        else "PB-D001: expected a DataFrame, got"
    )
    with pytest.raises(DataError, match=message):
        interactions_for(wrong, pb.Study(), label=...)
    with pytest.raises(DataError, match=message):
        rows_like(wrong, pb.Study())


def test_words_for_tables_do_not_go_with_interactions(events):
    assert interactions_for(events, pb.Study(), label=...) == (events, pb.Study())
    with pytest.raises(
        ConfigError, match="PB-C510: user, label: these are for tables, and Interactions have already been read"
    ):
        interactions_for(events, pb.Study(), user="user", label=None)


def test_a_test_is_read_like_the_rows_of_the_fit(ratings, events):
    study = pb.Study(data={**RATINGS, "periods": 3, "item_features": "not_there.csv", "new_items": True})
    rows = rows_like(pa.Table.from_pandas(ratings), study)
    assert_same(rows, pb.Interactions.from_frame(ratings, **RATINGS))
    assert rows_like(events, study) is events
    with pytest.raises(
        DataError, match=r"PB-D490: no column 'rating' .*pb\.Interactions\.from_frame\(frame, user='userId'"
    ):
        rows_like(ratings.drop(columns="rating"), study)


def test_a_test_of_a_fit_of_positives_may_have_labels(frame):
    study = pb.Study(data={"negatives": 4})
    assert rows_like(frame, study).label is not None
    assert rows_like(frame.drop(columns="label"), study).label is None
    with pytest.raises(DataError, match="PB-D490: no column 'label'"):
        rows_like(frame.drop(columns="label"), pb.Study())
