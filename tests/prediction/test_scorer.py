"""Which items a user has seen, as a sparse matrix."""

import numpy as np
import pandas as pd

import pyro_popbias as pb
from pyro_popbias.prediction.scorer import seen_items


def test_seen_items_are_those_of_the_rows(frame):
    events = pb.Interactions.from_frame(pd.concat([frame, frame.head(50)]), label="label")  # some pairs twice
    seen = seen_items(events)
    assert seen.shape == (len(events.users), len(events.items))
    expected = {(user, item) for user, item in zip(events.user, events.item, strict=True)}
    assert set(zip(*seen.nonzero(), strict=True)) == expected
    block = np.array([4, 0, 4])
    position, item = seen[block].nonzero()
    for place, user in enumerate(block):
        assert sorted(item[position == place]) == sorted(each for known, each in expected if known == user)


def test_a_row_seen_often_stays_seen():
    frame = pd.DataFrame({"user": ["u"] * 512, "item": ["i"] * 511 + ["j"], "label": [0, 1] * 256})
    seen = seen_items(pb.Interactions.from_frame(frame, label="label"))
    assert seen.toarray().tolist() == [[True, True]]
