"""Forecasts of popularity: m_T + a (m_T - m_{T-1}), and what a random walk says."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError

BRIEF = {"epochs": 3, "phase_two": 0, "device": "cpu"}


def fitted(model="product", *, frame=None, periods=3):
    if frame is None:
        frame = pb.simulate(model=model, users=30, items=10, interactions=900, seed=0).frame
        frame["time"] = np.random.default_rng(0).permutation(len(frame))
    events = pb.Interactions.from_frame(frame, label="label", time="time", periods=periods)
    prior = "normal" if model == "additive" else "gamma"
    study = pb.Study(model={"name": model, "prior": {"name": prior}}, guide={"name": prior}, training=BRIEF)
    return pb.fit(events, study=study, progress=False)


@pytest.mark.parametrize("model", ["product", "additive", "inverse-logistic"])
@pytest.mark.parametrize("share", [0.0, 0.5, -30.0, 2])
def test_a_forecast_is_a_given_value(model, share):
    fit = fitted(model)
    mean = fit.popularity().pivot(index="item", columns="period", values="mean")
    value = mean[2] + share * (mean[2] - mean[1])
    if model != "additive":
        value = value.clip(lower=1e-9)
    pairs = fit.events.to_frame()[["user", "item"]].head(50)
    found, expected = fit.predict(pairs, popularity={"forecast": share}), fit.predict(pairs, popularity=value.to_dict())
    pd.testing.assert_frame_equal(found, expected)
    pd.testing.assert_frame_equal(
        fit.recommend(k=3, popularity={"forecast": share}), fit.recommend(k=3, popularity=value.to_dict())
    )


def test_silent_cells_keep_the_last_mean():
    rng = np.random.default_rng(0)
    user, item, label = rng.integers(20, size=600), rng.choice(list("abcd"), size=600), rng.integers(2, size=600)
    frame = pd.DataFrame({"user": user.astype(str), "item": item, "label": label})
    frame["time"] = rng.permutation(600)
    third = frame["time"] // 200
    frame = frame[~((frame["item"] == "a") & (third == 2)) & ~((frame["item"] == "b") & (third < 2))]
    fit = fitted(frame=frame)
    mean = fit.popularity().pivot(index="item", columns="period", values="mean")
    value = {"a": mean.loc["a", 1], "b": mean.loc["b", 2]}  # silent at the end; new in the last period
    value |= {item: mean.loc[item, 2] + 0.5 * (mean.loc[item, 2] - mean.loc[item, 1]) for item in "cd"}
    pairs = pd.DataFrame({"user": frame["user"].iloc[:4].to_numpy(), "item": list("abcd")})
    pd.testing.assert_frame_equal(
        fit.predict(pairs, popularity={"forecast": 0.5}), fit.predict(pairs, popularity=value)
    )


def test_unseen_items_have_the_mean_of_the_population():
    fit = fitted()
    pairs = pd.DataFrame({"user": ["nobody"], "item": ["nothing"]})
    found, expected = (
        fit.predict(pairs, popularity=mode, unseen="prior") for mode in ({"forecast": 0.5}, {"nothing": 1.0})
    )
    pd.testing.assert_frame_equal(found, expected)


def test_one_period_has_no_forecast():
    fit = fitted(periods=1)
    with pytest.raises(pb.ConfigError, match="PB-C372: a forecast needs two periods or more, and the fit has one"):
        fit.recommend(popularity={"forecast": 0.5})


@pytest.mark.parametrize("share", ["0.5", True, np.nan, None])
def test_a_share_is_a_finite_number(share):
    with pytest.raises(pb.ConfigError, match=r"PB-C373: the share of .* must be a finite number"):
        fitted().predict(pd.DataFrame({"user": [], "item": []}, dtype=str), popularity={"forecast": share})


@pytest.fixture(scope="module")
def walking():
    sim = pb.simulate(users=60, items=12, interactions=900, periods=3, prior="lognormal", drift=0.4, seed=1)
    features = pd.DataFrame({"a": np.arange(13.0)}, index=[*sim.events.items, "unheard"])
    events = sim.events.with_features(item_features=features, new_items=True)
    study = pb.Study(model={"prior": {"drift": "random-walk"}}, training=BRIEF)
    return pb.fit(events, study=study, progress=False)


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_walk_forecasts_with_intervals_that_widen(walking, horizon):
    table = walking.forecast(periods=horizon, interval=0.8)
    assert list(table.columns) == ["item", "period", "mean", "sd", "lower", "upper", "prior_only"]
    assert table["period"].unique().tolist() == [3, 4, 5][:horizon]
    last = walking.popularity(interval=0.8).query("period == 2").set_index("item")
    step = walking.parameters().set_index("name").loc["drift_step", "mean"]
    q = walking.guide.popularity.posterior(torch.arange(2, walking.catalogue.cells, 3))
    for ahead, group in enumerate((group for _, group in table.groupby("period")), start=1):
        known = ~group["prior_only"].to_numpy()
        sd = np.sqrt(q.scale.detach().numpy() ** 2 + ahead * step**2)
        expected = np.exp(q.loc.detach().numpy() + norm.ppf(0.9) * sd)
        assert group["upper"].to_numpy()[known] == pytest.approx(expected[known])
        assert (group["upper"] / group["lower"] > (last["upper"] / last["lower"]).to_numpy() * 0.99).all()
    assert table.loc[table["item"] == "unheard", "prior_only"].all()


def test_scores_under_the_forecast_integrate_over_it(walking):
    pairs = pd.DataFrame({"user": walking.catalogue.users[:12], "item": walking.catalogue.items[:12]})
    found = walking.predict(pairs, popularity="forecast")
    ends = walking.forecast().set_index("item").loc[pairs["item"]]
    for side in ("lower", "upper"):
        given = walking.predict(pairs, popularity=ends[side].to_dict())
        np.testing.assert_allclose(found[f"popularity_{side}"], given["score"], rtol=1e-9)
    assert not np.allclose(found["score"], walking.predict(pairs, popularity="posterior")["score"])
    lists = walking.recommend(users=pairs["user"][:3], k=4, popularity="forecast")
    assert (lists.groupby("user")["score"].diff().dropna() <= 0).all()


@pytest.mark.filterwarnings("ignore:PB-C443")
def test_a_point_is_forecast_with_the_spread_of_its_steps():
    sim = pb.simulate(users=60, items=12, interactions=900, periods=3, prior="lognormal", drift=0.4, seed=1)
    study = pb.Study(model={"prior": {"drift": "random-walk"}}, guide={"name": "point"}, training=BRIEF)
    fit = pb.fit(sim.events, study=study, progress=False)
    table, last = fit.forecast(periods=2), fit.popularity().query("period == 2")["mean"].to_numpy()
    step = fit.parameters().set_index("name").loc["drift_step", "mean"]
    upper = table.query("period == 4")["upper"].to_numpy()
    assert upper == pytest.approx(last * np.exp(norm.ppf(0.95) * step * 2**0.5))
    assert (
        fit.predict(sim.events.to_frame()[["user", "item"]].head(4), popularity="forecast")["score"].between(0, 1).all()
    )


def test_only_a_walk_forecasts_with_a_distribution():
    fit = fitted()
    pairs = fit.events.to_frame()[["user", "item"]].head(3)
    for ask in (
        lambda: fit.predict(pairs, popularity="forecast"),
        fit.forecast,
        lambda: fit.recommend(popularity="forecast"),
    ):
        with pytest.raises(ConfigError, match="PB-C440: only a random walk says how popularity goes on"):
            ask()
