"""Items that are new in the last period, or gone after the first: neither an error nor a zero, in any table and mode."""

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.assembly.training_data import split_rows
from pyro_popbias.prediction.pairs import Pairs, predict_pairs

PERIODS = 3
MODES = ("population", "prior", "posterior", "none", 0.7, {"forecast": 0.0}, {"forecast": 0.8}, "mapping")
KINDS = [(name, data) for name in ("product", "additive", "inverse-logistic") for data in ("labels", "positives")]
KINDS += [("pda", "positives")]


def events_of(make_frame, data):
    """Return a log without item i3 after the first period and without item i4 before the last."""
    frame = make_frame(users=12, rows=700)
    period = np.minimum(frame["time"] // (100 / PERIODS), PERIODS - 1)
    kept = ~((frame["item"] == "i3") & (period > 0)) & ~((frame["item"] == "i4") & (period < PERIODS - 1))
    frame = frame[kept]
    if data == "positives":
        rare = frame["item"].isin(["i3", "i4"])
        frame = frame[(frame["label"] == 1) | rare].drop(columns="label")
    return pb.Interactions.from_frame(frame, label="label" if data == "labels" else None, time="time", periods=PERIODS)


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def fit(request, phase_two_as, make_frame):
    name, data = request.param
    study = pb.Study(
        model={"name": name, "affinity": {"name": "embedding", "dim": 2}},
        training={"epochs": 2, "batch_size": 200, "validation": 0.2, "device": "cpu"},
    )
    with phase_two_as(steps=5, cycle=3, most_cycles=2):
        return pb.fit(events_of(make_frame, data), study=study, progress=False)


def of_mode(fit, mode):
    return dict.fromkeys(fit.catalogue.items, 0.8) if mode == "mapping" else mode


def is_score(fit, scores):
    """Whether scores are positive, finite and, where they are probabilities, below 1."""
    return bool(((scores > 0) & (scores < (np.inf if fit.model.pairwise else 1.0))).all())


@pytest.mark.parametrize(("item", "there"), [("i3", [True, False, False]), ("i4", [False, False, True])])
def test_popularity_has_a_row_in_every_period(fit, item, there):
    own = fit.popularity().query("item == @item").sort_values("period")
    assert (own["count"] > 0).tolist() == there
    assert (~own["prior_only"]).tolist() == there
    for name in ("mean", "sd", "lower", "upper"):
        assert ((own[name] > 0) & np.isfinite(own[name])).all(), name
    silent = own[own["prior_only"]]
    np.testing.assert_allclose(silent["mean"], silent["prior_mean"])


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_mode_scores_them(fit, mode):
    users = fit.catalogue.users
    pairs = pd.DataFrame({"user": users.repeat(2), "item": ["i3", "i4"] * len(users)})
    ways = (False,) if fit.model.pairwise or not fit.study.data.negatives else (False, True)
    for calibrated in ways:
        scored = fit.predict(pairs, popularity=of_mode(fit, mode), calibrated=calibrated)
        assert is_score(fit, scored["score"])
        assert is_score(fit, scored["popularity_lower"])
        assert not scored["cold"].any()
        lists = fit.recommend(k=99, popularity=of_mode(fit, mode), exclude_seen=False, calibrated=calibrated)
        assert is_score(fit, lists["score"])
        listed = lists[lists["item"].isin(["i3", "i4"])]
        assert len(lists) == len(users) * len(fit.catalogue.items)
        both = listed.merge(scored, on=["user", "item"])
        np.testing.assert_allclose(both["score_x"], both["score_y"], rtol=1e-6)


def test_the_posterior_is_that_of_the_last_period_with_rows(fit):
    users = fit.catalogue.users
    q = fit.guide.popularity.posterior(torch.arange(fit.catalogue.cells)).mean.detach().reshape(-1, PERIODS)
    for item, last in (("i3", 0), ("i4", PERIODS - 1)):
        pairs = pd.DataFrame({"user": users, "item": item})
        read = Pairs.from_frame(pairs, fit.catalogue, unseen="error")
        scorer = fit.scorer("posterior")
        of_period = [predict_pairs(scorer, read, period=np.full(len(users), each))["score"] for each in range(PERIODS)]
        found = fit.predict(pairs, popularity="posterior")["score"]
        np.testing.assert_array_equal(found, of_period[last])
        assert (found != of_period[1]).all()
        code = fit.catalogue.items.get_loc(item)
        forecast = fit.scorer({"forecast": 0.5}).given(fit.catalogue.items)[code]
        assert float(forecast) == pytest.approx(float(q[code, last]))  # one period with rows: it does not move


@pytest.mark.parametrize("split", ["random", "item-uniform", "leave-last"])
@pytest.mark.parametrize("data", ["labels", "positives"])
def test_every_cell_with_rows_keeps_a_training_row(make_frame, split, data):
    """So that the last period with rows is the last one with training rows."""
    events = events_of(make_frame, data)
    for seed in range(5):
        study = pb.Study(training={"validation": {"split": split, "share": 0.5}, "seed": seed})
        train, held_out = split_rows(events, study.replace("data", negatives=0 if data == "labels" else 4))
        assert len(held_out) > 0
        trained = np.bincount(events.cell[train], minlength=events.cells) > 0
        np.testing.assert_array_equal(trained, events.catalogue.count > 0)
