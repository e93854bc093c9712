"""Pairs of a table: rows and order are kept, and unseen ids are refused, kept or dropped."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError, DataError
from pyro_popbias.prediction.pairs import Pairs

TABLE = pd.DataFrame({"user": ["b", "x", "a"], "item": ["j", "i", "y"], "note": [1, 2, 3]}, index=[5, 5, 5])


@pytest.fixture
def catalogue():
    return pb.Interactions.from_frame(pd.DataFrame({"user": ["a", "b"], "item": ["i", "j"]})).catalogue


def test_unseen_ids_are_kept_as_minus_one(catalogue):
    pairs = Pairs.from_frame(TABLE, catalogue, unseen="prior")
    assert pairs.user.tolist() == [1, -1, 0]
    assert pairs.item.tolist() == [1, 0, -1]
    assert pairs.ids["user"].tolist() == ["b", "x", "a"]
    assert pairs.frame["note"].tolist() == [1, 2, 3]


def test_rows_of_unseen_ids_are_dropped_with_their_columns(catalogue):
    pairs = Pairs.from_frame(TABLE, catalogue, unseen="drop")
    assert (pairs.user.tolist(), pairs.item.tolist()) == ([1], [1])
    assert pairs.frame.to_dict("list") == {"user": ["b"], "item": ["j"], "note": [1]}
    assert pairs.ids.index.tolist() == pairs.frame.index.tolist() == [0]


def test_refusals(catalogue):
    with pytest.raises(
        DataError, match=r"PB-D048: 1 rows of unseen users \(x\) and 1 rows of unseen items \(y\) in 3 pairs"
    ):
        Pairs.from_frame(TABLE, catalogue, unseen="error")
    with pytest.raises(ConfigError, match=r"PB-C012: unseen='dorp'; did you mean 'drop'\? Choices: error, prior, drop"):
        Pairs.from_frame(TABLE, catalogue, unseen="dorp")
    with pytest.raises(DataError, match="PB-D005: no column 'user'"):
        Pairs.from_frame(TABLE[["item"]], catalogue, unseen="drop")
    with pytest.raises(DataError, match="PB-D029: column 'user' has 1 missing ids in 3 rows"):
        Pairs.from_frame(TABLE.assign(user=["a", None, "b"]), catalogue, unseen="drop")


def test_tables_of_arrow_are_tables(catalogue):
    pairs = Pairs.from_frame(pa.table({"user": ["a"], "item": ["j"]}), catalogue, unseen="error")
    np.testing.assert_array_equal([pairs.user, pairs.item], [[0], [1]])
