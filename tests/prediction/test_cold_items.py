"""Items without a training row: flagged, and under the population distribution in every mode."""

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb

TRAINING = {"epochs": 2, "batch_size": 200, "phase_two": 0, "validation": 0.0, "device": "cpu"}
MODES = ("population", "prior", "posterior")


@pytest.fixture(scope="module", params=list(pb.MODELS))
def fit(request, make_frame):
    """Return a fit that knows an item without rows, i99."""
    events = pb.Interactions.from_frame(make_frame(), label="label")
    items = events.items.append(pd.Index(["i99"]))
    known = pb.Interactions(events.users, items, user=events.user, item=events.item, label=events.label)
    study = pb.Study(model={"name": request.param, "affinity": {"name": "embedding", "dim": 2}}, training=TRAINING)
    return pb.fit(known, study=study, progress=False)


def test_cold_items_are_flagged(fit):
    pairs = pd.DataFrame({"user": "u1", "item": ["i3", "i99", "nothing", "i4"]})
    for popularity in (*MODES, "none", 0.7):
        table = fit.predict(pairs, popularity, unseen="prior")
        assert table.columns[-1] == "cold"
        assert table["cold"].tolist() == [False, True, True, False]
        lists = fit.recommend(["u1"], k=20, popularity=popularity, exclude_seen=False)
        assert lists.columns[-1] == "cold"
        assert lists.set_index("item")["cold"].to_dict() == {item: item == "i99" for item in fit.catalogue.items}
    assert fit.predict(pairs[:0])["cold"].dtype == bool
    assert fit.recommend([])["cold"].dtype == bool


def test_cold_items_have_the_population_distribution(fit):
    pairs = pd.DataFrame({"user": ["u1", "u2"] * 2, "item": ["i99", "i99", "nothing", "nothing"]})
    columns = ["score", "score_lower", "score_upper", "popularity_lower", "popularity_upper"]
    expected = fit.predict(pairs, "population", unseen="prior")[columns]
    for popularity in ("prior", "posterior"):
        found = fit.predict(pairs, popularity, unseen="prior")[columns]
        exact = [column for column in columns if popularity == "prior" or not column.startswith("score_")]
        np.testing.assert_allclose(found[exact], expected[exact], rtol=1e-6)
