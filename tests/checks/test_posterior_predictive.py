"""Replicates and their statistics: against values worked out by hand, and over every model, affinity and guide."""

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.checks.posterior_predictive import Predictive, summary
from pyro_popbias.checks.replicated_data import ReplicatedData
from pyro_popbias.checks.statistics import Statistics, deciles, gini, spread, top_share

pytestmark = pytest.mark.usefixtures("short_training")
TRAINING = {"epochs": 3, "batch_size": 150, "device": "cpu"}
COLUMNS = ["check", "statistic", "stratum", "observed", "mean", "sd", "lower", "upper", "least", "most", "p_value"]


def test_deciles_keep_equal_counts_together():
    assert deciles(np.arange(20)).tolist() == np.repeat(np.arange(10), 2).tolist()
    # ranks 1-5 share 3, and 6-9 share 7.5
    assert deciles(np.array([1] * 5 + [2] * 4 + [9])).tolist() == [2] * 5 + [7] * 4 + [9]


def test_spread_is_over_items_with_enough_rows():
    assert spread(np.array([1, 4, 5]), np.array([4, 5, 10])) == pytest.approx(0.15)  # .8 and .5
    assert np.isnan(spread(np.array([1, 4]), np.array([4, 5])))


def test_gini_by_the_differences_of_all_pairs_of_rows():
    rng = np.random.default_rng(0)
    rows = rng.integers(1, 9, size=12)
    clicks = rng.binomial(rows, 0.4)
    rate = np.repeat(clicks / rows, rows)
    assert gini(clicks, rows) == pytest.approx(np.abs(rate[:, None] - rate).mean() / (2 * rate.mean()))
    assert gini(rows, rows) == pytest.approx(0)
    assert gini(0 * rows, rows) == 0


def test_top_share():
    clicks = np.array([1, 5, 0, 2, 2, 0, 0, 0, 0, 0, 0])
    assert top_share(clicks, 0.01) == 0.5
    assert top_share(clicks, 0.1) == 0.7  # 1.1 items are two
    assert top_share(0 * clicks, 0.1) == 0


def test_statistics_by_hand():
    cell_index, user = np.repeat([0, 1, 2], [2, 6, 12]), np.arange(20) % 2
    label = (np.arange(20) % 3 == 0).astype(float)
    probability, scored = np.linspace(0.05, 0.95, 20), np.arange(20) >= 4
    statistics = Statistics(cell_index, user, scored=scored, log_probability=np.log([1 - probability, probability]))
    blocks = [(slice(start, start + 7), label[start : start + 7] > 0) for start in range(0, 20, 7)]
    found = dict(zip(statistics.names, statistics.of(statistics.count(blocks)), strict=True))
    clicks = np.array([1.0, 2.0, 4.0])
    assert [found["click rate", f"decile {k}"] for k in (2, 6, 9)] == pytest.approx(clicks / [2, 6, 12])
    assert found["spread of item rates", ""] == pytest.approx(0)  # 2/6 and 4/12
    assert found["share of clicks", "top 1 %"] == pytest.approx(4 / 7)
    assert found["clicks per user", "mean"] == pytest.approx(3.5)
    by_user = [label[user == code].mean() for code in (0, 1)]
    assert found["spread of user rates", ""] == pytest.approx(np.std(by_user))
    score = np.log(np.where(label > 0, probability, 1 - probability))
    # of three items the first is in decile 2 and not scored, the others in 6 and 9
    assert found["log-score", "middle"] == pytest.approx(score[4:].mean())
    assert not {("log-score", "tail"), ("log-score", "head")} & found.keys()
    bins = [value for (statistic, _), value in found.items() if statistic == "calibration"]
    assert len(bins) == 10
    assert bins[0] == pytest.approx(label[4:6].mean())


def test_equal_probabilities_are_one_bin():
    statistics = Statistics(
        np.arange(4),
        np.arange(4),
        scored=np.ones(4, dtype=bool),
        log_probability=np.log([np.full(4, 0.7), np.full(4, 0.3)]),
    )
    assert sum(statistic == "calibration" for statistic, _ in statistics.names) == 1


def test_summary():
    replicates = np.array([[0.0, 1.0]] * 5 + [[1.0, 2.0]] * 5)
    table = summary("population", [("a", ""), ("b", "x")], np.array([0.0, 3.0]), replicates)
    assert list(table.columns) == COLUMNS
    assert table["p_value"].tolist() == [0.5, 0.0]  # half of the ties lie below
    assert table["most"].tolist() == [1, 2]


def fitted(frame, *, model=None, guide="gamma", **data):
    events = pb.Interactions.from_frame(frame, label="label" if "label" in frame else None, **data)
    return pb.fit(events, study=pb.Study(model=model or {}, guide={"name": guide}, training=TRAINING), progress=False)


def predictive_of(fit, *, replicates=5, seed=0):
    rows = ReplicatedData.of(fit.events, fit.study, seed=0, device=fit.guide.device)
    return Predictive(fit.model, fit.guide, rows, fit.study.model.latent == "interaction", seed, replicates)


EMBEDDING = {"name": "embedding", "dim": 4}
MODELS = [{"name": name, "affinity": EMBEDDING} for name, cls in pb.MODELS.items() if not cls.pairwise] + [
    {"name": "additive", "affinity": EMBEDDING, "latent": "interaction"},
    {"name": "product", "affinity": EMBEDDING, "saturation": {"name": "hill", "half": "learned"}},
    {"name": "product", "affinity": EMBEDDING, "prior": {"name": "gamma", "source": "log-share"}},
    {"affinity": {**EMBEDDING, "posterior": "mean-field", "scale": "learned"}},
    {"affinity": {"name": "linear"}},
    {"affinity": {"name": "factorization-machine", "dim": 3}},
    {"affinity": {"name": "fixed", "score": "time"}},
]


def features(ids):
    return pd.DataFrame({"x": np.arange(len(ids)) % 3, "kind": ["ab"[k % 2] for k in range(len(ids))]}, index=ids)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:PB-C10:pyro_popbias.errors.DataWarning")
@pytest.mark.parametrize("model", MODELS, ids=str)
@pytest.mark.parametrize("periods", [1, 2])
def test_every_model_and_affinity_is_replicated(frame, model, periods):
    if model["affinity"].get("score"):
        frame = frame.assign(score=frame["time"] / 100)
        model = {"affinity": {"name": "fixed", "score": "score"}}
    sides = {f"{side}_features": features(frame[side].unique()) for side in ("user", "item")}
    fit = fitted(frame, model=model, time="time", periods=periods, **sides)
    before = {name: value.clone() for name, value in fit.model.state_dict().items()}
    tables = predictive_of(fit).tables()
    assert list(tables) == ["items", "population", "prior"]
    for check, table in tables.items():
        assert (table["check"] == check).all()
        assert np.isfinite(table.drop(columns=["check", "statistic", "stratum"]).to_numpy(dtype=float)).all()
    assert (tables["items"]["observed"] == tables["prior"]["observed"]).all()
    for name, value in fit.model.state_dict().items():  # the prior's draws are of a copy
        assert torch.equal(value, before[name])


@pytest.mark.slow
@pytest.mark.parametrize("guide", pb.GUIDES)
def test_every_guide_is_replicated(frame, guide, model_for):
    fit = fitted(frame, model={"affinity": EMBEDDING, **model_for(guide)}, guide=guide)
    tables = predictive_of(fit).tables()
    assert all((table["sd"] >= 0).all() for table in tables.values())
    overall = tables["items"].set_index("statistic").loc["clicks per user"]
    assert 0.5 < overall["mean"] / overall["observed"] < 2


def test_positives_only_have_fixed_negatives_and_no_statistics_of_users(frame):
    fit = fitted(frame[frame["label"] == 1][["user", "item"]], model={"affinity": EMBEDDING})
    rows = ReplicatedData.of(fit.events, fit.study, seed=0, device=fit.guide.device)
    assert rows.label.mean() == pytest.approx(0.2)
    held_out = rows.scored.sum()
    assert 0 < held_out < len(rows)
    assert rows.label[rows.scored].mean() == pytest.approx(0.2)
    pairs = np.stack([rows.user.numpy(), rows.item.numpy()], axis=1)
    every = set(zip(fit.events.user, fit.events.item, strict=True))
    trained = set(map(tuple, pairs[~rows.scored & (rows.label == 1)]))
    # training spares the positives it knows, the held-out score all of them
    for scored, positive in ((False, trained), (True, every)):
        chosen = rows.scored == scored
        drawn = [tuple(pair) in positive for pair in pairs[chosen]]
        np.testing.assert_array_equal(drawn, rows.label[chosen] == 1)
    statistics = set(predictive_of(fit).tables()["items"]["statistic"])
    assert {"click rate", "calibration"} < statistics
    assert not [name for name in statistics if "user" in name]


def test_same_seed_same_tables_and_the_random_state_is_left_alone(frame):
    fit = fitted(frame, model={"affinity": EMBEDDING})
    state = torch.get_rng_state()
    one, again, other = (predictive_of(fit, seed=seed).tables() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for check, table in one.items():
        pd.testing.assert_frame_equal(table, again[check])
        assert not table["mean"].equals(other[check]["mean"])


@pytest.mark.slow
def test_blocks_change_only_the_draws(frame, monkeypatch):
    fit = fitted(frame, model={"affinity": {**EMBEDDING, "posterior": "mean-field"}})
    whole = predictive_of(fit, replicates=200).tables()["items"]
    monkeypatch.setattr("pyro_popbias.checks.replicated_data.BLOCK", 64)
    blocks = predictive_of(fit, replicates=200).tables()["items"]
    pd.testing.assert_series_equal(whole["observed"], blocks["observed"])
    error = np.hypot(whole["sd"], blocks["sd"]) / np.sqrt(200)  # of the difference of two means
    assert ((whole["mean"] - blocks["mean"]).abs() <= 5 * error + 1e-12).all()


@pytest.mark.slow
def test_replicates_have_the_mean_and_spread_of_the_program(frame):
    """Popularity known to be one number: labels are independent, and the total is a sum of Bernoullis."""
    fit = fitted(frame, model={"affinity": {**EMBEDDING, "posterior": "point", "user_bias": False}}, guide="point")
    with torch.no_grad():
        rows = ReplicatedData.of(fit.events, fit.study, seed=0, device=fit.guide.device)
        z = fit.guide.popularity.posterior(rows.cell).v.index_select(0, rows.cell_index)
        x = fit.model.affinity.pairs(rows.user, rows.item, None, {}).mean
        p = (torch.sigmoid(x) * -torch.expm1(-z)).numpy()
    table = predictive_of(fit, replicates=400).tables()["items"].set_index("statistic")
    users = fit.events.users.size
    mean, sd = p.sum() / users, np.sqrt((p * (1 - p)).sum()) / users
    assert table["mean"]["clicks per user"] == pytest.approx(mean, abs=5 * sd / 20)
    assert table["sd"]["clicks per user"] == pytest.approx(sd, rel=5 / np.sqrt(2 * 400))
