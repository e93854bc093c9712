"""Rows of a test that were trained on, by ids."""

import numpy as np
import pandas as pd

import pyro_popbias as pb
from pyro_popbias.evaluation.trained_rows import trained_rows


def rows_of(users, items, user, item):
    ids = (pd.Index([f"{side}{code}" for code in range(size)]) for side, size in (("u", users), ("i", items)))
    return pb.Interactions(*ids, user=np.array(user, dtype=np.int32), item=np.array(item, dtype=np.int32))


def test_pairs_of_a_large_catalogue_are_told_apart():
    """Numbers of pairs are beyond int32 here, in which codes are kept."""
    users, items = 70_000, 65_536
    train = rows_of(users, items, [0, 1, 69_999, 65_536], [0, 5, 60_000, 7])
    test = rows_of(users, items, [69_999, 1, 65_536, 0, 0], [60_000, 6, 7, 7, 0])
    assert trained_rows(test, train).tolist() == [True, False, True, False, True]


def test_rows_are_compared_by_ids():
    train = rows_of(3, 4, [0, 1, 2], [3, 2, 1])
    frame = pd.DataFrame({"user": ["u2", "u1", "new", "u0"], "item": ["i1", "i3", "i1", "i3"]})
    assert trained_rows(pb.Interactions.from_frame(frame), train).tolist() == [True, False, False, True]
