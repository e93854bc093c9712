"""Forecasts of popularity: m_T + a (m_T - m_{T-1})."""

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb

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
