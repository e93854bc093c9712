"""Popularity that follows a feature of items, users of unequal activity, and a given intercept."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError
from pyro_popbias.simulation.populations import DISTRIBUTIONS

MANY = {"users": 2, "items": 20_000, "interactions": 50}
SIZES = {"users": 200, "items": 100, "interactions": 4_000, "seed": 1}


def scores(simulation, prior, period=0):
    """Return the normal scores of z in a period."""
    popularity = simulation.truth["popularity"]
    return DISTRIBUTIONS[prior].score(popularity["z"][popularity["period"] == period].to_numpy(), 2.0)


@pytest.mark.parametrize("affinity", ["linear", "factorization-machine"])
@pytest.mark.parametrize("prior", ["gamma", "lognormal", "weibull", "exponential", "normal"])
def test_popularity_follows_the_first_numeric_feature(affinity, prior):
    model = "additive" if prior == "normal" else "product"
    simulation = pb.simulate(model, affinity, prior=prior, confounding=0.5, **MANY)
    score = scores(simulation, prior)
    features = simulation.item_features.select_dtypes("number")
    correlation = [np.corrcoef(score, features[name])[0, 1] for name in features]
    assert abs(correlation[0] - 0.5) < 4 * 0.75 / np.sqrt(MANY["items"])
    assert all(abs(other) < 4 / np.sqrt(MANY["items"]) for other in correlation[1:])
    assert stats.kstest(score, stats.norm().cdf).pvalue > 1e-4  # the population distribution is as it was


def test_every_period_follows_it_and_the_first_under_a_drift():
    for drift, second in ((None, 0.5), (1.0, 0.5 / np.sqrt(2))):
        simulation = pb.simulate(
            "additive",
            "linear",
            prior="normal",
            confounding=0.5,
            periods=2,
            drift=drift,
            **MANY | {"interactions": 200},
        )
        feature = simulation.item_features["x0"]
        assert np.corrcoef(scores(simulation, "normal", 0), feature)[0, 1] == pytest.approx(0.5, abs=0.022)
        assert np.corrcoef(scores(simulation, "normal", 1), feature)[0, 1] == pytest.approx(second, abs=0.028)


@pytest.mark.parametrize("periods", [1, 3])
def test_quality_keeps_its_correlation_with_popularity(periods):
    simulation = pb.simulate(
        "additive",
        "linear",
        prior="normal",
        confounding=0.6,
        periods=periods,
        quality=1.0,
        quality_correlation=0.5,
        **MANY | {"interactions": 500},
    )
    mean = np.mean([scores(simulation, "normal", period) for period in range(periods)], axis=0)
    quality = simulation.truth["items"]["quality"]
    assert np.corrcoef(quality, mean)[0, 1] == pytest.approx(0.5, abs=0.022)
    assert quality.std() == pytest.approx(1.0, abs=0.022)


def test_without_it_all_is_drawn_as_before():
    plain, none = (pb.simulate("additive", "linear", **SIZES, **more) for more in ({}, {"confounding": 0.0}))
    confounded = pb.simulate("additive", "linear", **SIZES, confounding=0.5)
    assert plain.frame.equals(none.frame)
    assert plain.item_features.equals(confounded.item_features)
    assert not plain.truth["popularity"].equals(confounded.truth["popularity"])


@pytest.mark.parametrize("affinity", ["embedding", "fixed"])
def test_without_features_there_is_nothing_to_follow(affinity):
    with pytest.raises(
        ConfigError, match=r"PB-C083: confounding is .* numeric feature of items, and this affinity has none"
    ):
        pb.simulate(affinity=affinity, confounding=0.5, **SIZES)


@pytest.mark.parametrize("model", ["product", "pda"])
def test_active_users_have_more_rows(model):
    sizes = {"users": 400, "items": 50, "interactions": 200_000, "seed": 2}
    simulation = pb.simulate(model, activity=1.0, **sizes)
    activity = simulation.truth["users"].set_index("user")["activity"]
    assert np.log(activity).std() == pytest.approx(1.0, abs=4 * 0.5**0.5 / np.sqrt(400))
    count = simulation.frame["user"].value_counts().reindex(activity.index, fill_value=0)
    expected = activity / activity.sum() * len(simulation.frame)
    assert stats.chisquare(count, expected).pvalue > 1e-4
    even = pb.simulate(model, **sizes).truth["users"]["activity"]
    assert (even == 1).all()


def test_the_intercept_is_the_one_given():
    simulation = pb.simulate("product", "linear", intercept=-2.0, users=500, items=400, interactions=100_000)
    values = simulation.truth["parameters"].set_index("name")["value"]
    assert values["intercept"] == -2.0
    # mathematics.md: b0 = -2 has 8.6 % positives with lambda = 1 and Gamma(2, 2)
    assert simulation.frame["label"].mean() == pytest.approx(0.086, abs=0.012)
    x = (
        simulation.user_features.to_numpy() @ [0.5, -0.5, 0.3, 0.0],
        simulation.item_features.to_numpy() @ [0.4, -0.3, 0.2, 0.1],
    )
    exact = expit(-2.0 + x[0][:, None] + x[1]) * -np.expm1(-simulation.truth["popularity"]["z"].to_numpy())
    assert simulation.frame["label"].mean() == pytest.approx(exact.mean(), abs=4 * (0.086 / 100_000) ** 0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("confounding", 1.0),
        ("confounding", float("nan")),
        ("activity", -0.1),
        ("activity", float("inf")),
        ("intercept", "0"),
        ("intercept", float("inf")),
    ],
)
def test_numbers_outside_their_ranges(name, value):
    with pytest.raises(ConfigError, match=f"PB-C083: {name} must be"):
        pb.simulate("additive", "linear", **SIZES, **{name: value})


@pytest.mark.slow
@pytest.mark.parametrize("model", ["product", "additive", "inverse-logistic"])
def test_a_million_rows(model):
    simulation = pb.simulate(
        model, "linear", users=100_000, items=10_000, interactions=1_000_000, confounding=0.5, activity=1.0
    )
    assert len(simulation.frame) == len(simulation.events) == 1_000_000
