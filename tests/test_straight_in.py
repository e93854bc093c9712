"""From a table to a fit: what a fit of a table is, and what else takes one."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError

pytestmark = pytest.mark.usefixtures("short_training")
RATINGS = {"user": "userId", "item": "movieId", "label": "rating", "positive_if": ">=4", "time": "timestamp"}
STUDY = pb.Study(
    model={"affinity": {"name": "embedding", "dim": 2}}, training={"epochs": 2, "batch_size": 200, "device": "cpu"}
)


def ratings(make_frame, **sizes):
    frame = make_frame(**sizes)
    rating = np.where(frame["label"] == 1, 4.5, 2.0)
    table = pd.DataFrame(
        {"userId": frame["user"], "movieId": frame["item"], "rating": rating, "timestamp": frame["time"]}
    )
    return table.assign(note="a column that nobody asked for")


@pytest.fixture(scope="module")
def fit(short_training, make_frame):
    table = pa.Table.from_pandas(ratings(make_frame), preserve_index=False)
    return pb.fit(table, **RATINGS, periods=2, study=STUDY, progress=False)


def test_a_fit_of_a_table_is_that_of_its_interactions(fit, make_frame):
    events = pb.Interactions.from_frame(ratings(make_frame), **RATINGS, periods=2)
    other = pb.fit(events, study=STUDY, progress=False)
    pd.testing.assert_frame_equal(fit.popularity(), other.popularity(), check_exact=True)
    assert fit.study == other.study.replace("data", **RATINGS, periods=2)


def test_its_study_knows_the_columns_also_when_it_is_saved(fit, tmp_path):
    fit.save(tmp_path / "run")
    section = pb.load(tmp_path / "run").study.data
    assert {key: getattr(section, key) for key in RATINGS} == RATINGS
    assert section.periods == 2


@pytest.mark.slow
def test_tests_and_later_rows_are_tables_too(fit, make_frame):
    known = set(zip(fit.events.user, fit.events.item, strict=True))
    rows = ratings(make_frame, rows=900, seed=5).drop_duplicates(["userId", "movieId"])
    pairs = (
        side.get_indexer(rows[name]) for side, name in ((fit.events.users, "userId"), (fit.events.items, "movieId"))
    )
    rows = rows[[pair not in known for pair in zip(*pairs, strict=True)]]
    test = pb.Interactions.from_frame(rows, **RATINGS)
    for ask in (
        lambda rows: fit.evaluate(rows, k=3),
        lambda rows: fit.trade_off(rows, accuracy="ndcg@3", bias="average_popularity@3"),
        lambda rows: pb.compare({"a": fit}, rows, metrics=("ndcg@3",)),
        lambda rows: pb.update(fit, rows, progress=False).popularity(),
    ):
        pd.testing.assert_frame_equal(pd.DataFrame(ask(rows)), pd.DataFrame(ask(test)), check_exact=True)


def test_pairs_may_have_the_names_of_the_table_that_was_fitted(fit, make_frame):
    pairs = ratings(make_frame).head(5)[["userId", "movieId"]]
    plain = pairs.rename(columns={"userId": "user", "movieId": "item"})
    found = fit.predict(pa.Table.from_pandas(pairs, preserve_index=False))
    pd.testing.assert_frame_equal(found, fit.predict(plain), check_exact=True)
    both = plain.assign(userId="someone else")
    pd.testing.assert_frame_equal(fit.predict(both), found, check_exact=True)
    with pytest.raises(pb.DataError, match="PB-D005: no column 'item'"):
        fit.predict(pairs[["userId"]])


def test_columns_may_have_numbers_as_names(make_frame):
    frame = make_frame()[["user", "item", "label"]]
    numbered = frame.set_axis(range(3), axis=1)
    found = pb.fit(numbered, user=0, item=1, label=2, study=STUDY, progress=False)
    pd.testing.assert_frame_equal(found.popularity(), pb.fit(frame, study=STUDY, progress=False).popularity())
    assert found.study.data.user == "0"
    events = pb.Interactions.from_frame(numbered, user="0", item=1, label="2")
    assert events.label.sum() == frame["label"].sum()


def test_a_rule_needs_its_column(make_frame):
    frame = ratings(make_frame)
    with pytest.raises(ConfigError, match=r"PB-C512: positive_if='>=4' is a rule for a column of labels"):
        pb.fit(frame, user="userId", item="movieId", label=None, positive_if=">=4", study=STUDY)


def test_a_table_with_plain_names_needs_no_words(make_frame):
    found = pb.fit(make_frame().assign(time=0.0), study=STUDY, progress=False)
    assert len(found.events) == 400
    assert found.events.time is None
    assert found.study.data.label == "label"


def test_words_for_tables_are_refused_beside_interactions(events):
    with pytest.raises(ConfigError, match="PB-C510: label, time: these are for tables"):
        pb.fit(events, label="label", time="time")
