import warnings

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.data.id_forms import look_alikes, shown_id, warn_of_look_alikes
from pyro_popbias.data.ids import as_text, column_of
from pyro_popbias.errors import DataError, DataWarning


@pytest.mark.parametrize(
    ("ids", "pairs"),
    [
        (["a", "b", "A"], [("a", "A")]),
        (["x ", "x", " x"], [("x ", "x"), ("x ", " x")]),
        (["z", "\u200bz", "z\ufeff"], [("z", "\u200bz"), ("z", "z\ufeff")]),
        (["\u00e9", "e\u0301"], [("\u00e9", "e\u0301")]),
        (["\u00c9 ", "e\u0301\u200d"], [("\u00c9 ", "e\u0301\u200d")]),
        (["A1", "A2", "B C", "BC", "\u00e9", "e", "1", "1.0", "01"], []),
        ([], []),
    ],
)
def test_ids_that_look_alike(ids, pairs):
    assert look_alikes(pd.Index(ids, dtype=str)) == pairs


def test_look_alikes_among_many_are_found_as_one_by_one():
    rng = np.random.default_rng(0)
    ids = pd.Index(pd.unique(np.array(["".join(rng.choice(list("aAbB \u00e9"), 4)) for _ in range(2000)])), dtype=str)
    expected = len(ids) - len({each.strip().lower() for each in ids})
    assert len(look_alikes(ids)) == expected > 0


def test_the_warning_counts_each_form_with_examples():
    ids = pd.Index(["a", "A", "b", "B", "c", "C", "d", "D", "x", "x ", "e\u0301", "\u00e9"], dtype=str)
    match = (
        r"PB-D454: column 'item' holds 6 of 12 ids .* only by case \(4: 'a' and 'A', 'b' and 'B', 'c' and 'C', \.\.\.\); "
        r"surrounding space \(1: 'x' and 'x '\); Unicode normal form \(1: 'e\\u0301' and '\u00e9'\), and stay"
    )
    with pytest.warns(DataWarning, match=match):
        warn_of_look_alikes(ids, "item")


def test_rows_of_unusable_ids_are_counted():
    with pytest.raises(
        DataError, match=r"PB-D452: column 'user' has .* 2 ids in 3 of 5 rows \('b\\x1f', 'c\\x9f'; .*1, 2, 3\)"
    ):
        as_text(pd.Series(["a", "b\x1f", "c\x9f", "b\x1f", "d"]), "user")
    assert as_text(pd.Series(["a\u00a0\u2028b", "\u202e", "\ufffd"]), "user").tolist() == [
        "a\u00a0\u2028b",
        "\u202e",
        "\ufffd",
    ]


@pytest.mark.parametrize("dtype", [object, "string[python]"])
def test_surrogates_are_refused_in_columns_and_lists(dtype):
    with pytest.raises(
        DataError, match=r"PB-D451: column 'user' has lone surrogates.* 1 id in 1 of 2 rows \('\\udfff'"
    ):
        as_text(pd.Series(["a", "\udfff"], dtype=dtype), "user")
    with pytest.raises(DataError, match="PB-D451: column 'users'"):
        as_text(column_of(["\udfff"]), "users")


def test_shown_ids_are_short_and_visible():
    assert shown_id("x" * 50) == repr("x" * 37 + "...")
    assert shown_id("e\u0301") == "'e\\u0301'"


def test_new_items_are_compared_with_those_of_the_rows():
    frame = pd.DataFrame({"user": ["a", "b"], "item": ["x", "y"]})
    features = pd.DataFrame({"age": [0.1, 0.2, 0.3]}, index=["x", "y", "X"])
    with pytest.warns(DataWarning, match="PB-D454: column 'item, with those of item_features' holds 1 of 3 ids"):
        pb.Interactions.from_frame(frame, item_features=features, new_items=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pb.Interactions.from_frame(frame, item_features=features)
