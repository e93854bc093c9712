"""Quality of items and bias of users in simulated affinities."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit
from scipy.stats import chisquare, kstest

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError
from pyro_popbias.simulation.affinities import SIMULATED as AFFINITIES

SIZES = {"users": 60, "items": 40, "interactions": 8_000, "dim": 3, "seed": 3}
TERMS = {"quality": 0.8, "quality_correlation": 0.5, "user_bias": 0.6}
MANY = {"users": 2, "items": 20_000, "interactions": 50, "dim": 1}
FORMULAS = {
    "product": lambda x, z: expit(x) * (1 - np.exp(-z)),
    "additive": lambda x, z: expit(x + z),
    "inverse-logistic": lambda x, z: expit(x + np.log(z)),
    "pda": lambda x, z: np.where(x > 0, 1 + x, np.exp(x)) * z,
}
CONCENTRATION = 2.0  # the default
POPULATIONS = {
    "gamma": stats.gamma(CONCENTRATION, scale=1 / CONCENTRATION),
    "lognormal": stats.lognorm(np.sqrt(np.log(1.5)), scale=1.5**-0.5),
    "exponential": stats.expon(),
}


def tables(simulation):
    return {"frame": simulation.frame, "test": simulation.test, **simulation.truth}


def added(simulation, frame):
    """Return b_i + w_u of rows."""
    quality = simulation.truth["items"].set_index("item")["quality"]
    bias = simulation.truth["users"].set_index("user")["bias"]
    return quality[frame["item"]].to_numpy() + bias[frame["user"]].to_numpy()


def product(simulation, frame, *, coordinates=None):
    user, item = (simulation.truth[f"{side}_vectors"].set_index("id").loc[frame[side]] for side in ("user", "item"))
    return (user.to_numpy() * item.to_numpy())[:, :coordinates].sum(1)


def logit(simulation, frame):
    values = simulation.truth["parameters"].set_index("name")["value"]
    return product(simulation, frame) + values["intercept"]


def popularity(simulation, frame):
    return simulation.truth["popularity"].set_index("item")["z"][frame["item"]].to_numpy()


@pytest.fixture(scope="module", params=AFFINITIES)
def affinity(request):
    return request.param


@pytest.fixture(scope="module", params=FORMULAS)
def model(request):
    return request.param


@pytest.fixture(scope="module")
def plain(model, affinity):
    return pb.simulate(model, affinity, **SIZES)


@pytest.fixture(scope="module")
def simulation(model, affinity):
    return pb.simulate(model, affinity, **SIZES, **TERMS)


def test_tables_list_every_item_and_user(simulation):
    items, users = simulation.truth["items"], simulation.truth["users"]
    assert list(items.columns) == ["item", "quality"]
    assert list(users.columns) == ["user", "bias", "activity"]
    assert items["item"].tolist() == [f"i{code}" for code in range(SIZES["items"])]
    assert users["user"].tolist() == [f"u{code}" for code in range(SIZES["users"])]
    assert items["quality"].is_unique
    assert users["bias"].is_unique


def test_tables_are_zero_by_default(plain):
    for table, column in (("items", "quality"), ("users", "bias")):
        values = plain.truth[table][column].to_numpy()
        assert not values.any()
        assert not np.signbit(values).any()


def test_the_rest_of_the_truth_is_the_same_without_them(plain, simulation):
    for name in ("popularity", "parameters"):
        pd.testing.assert_frame_equal(plain.truth[name], simulation.truth[name], check_exact=True)
    for side in ("user", "item"):
        one, other = (each.truth[f"{side}_vectors"] for each in (plain, simulation))
        assert len(other.columns) == len(one.columns) + 2
        pd.testing.assert_frame_equal(one, other[one.columns], check_exact=True)
        features = [getattr(each, f"{side}_features") for each in (plain, simulation)]
        if features[0] is not None:
            pd.testing.assert_frame_equal(*features, check_exact=True)


def test_items_are_shown_to_the_same_users_without_them(plain, simulation, model):
    if model != "pda":  # there the affinity decides which items are in the log
        columns = ["user", "item"]
        pd.testing.assert_frame_equal(plain.frame[columns], simulation.frame[columns])
        assert not plain.frame["label"].equals(simulation.frame["label"])


def test_vectors_give_the_affinity_with_the_terms(simulation):
    test = simulation.test
    expected = product(simulation, test, coordinates=-2) + added(simulation, test)
    np.testing.assert_allclose(product(simulation, test), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("affinity", ["fixed"], indirect=True)
def test_a_given_score_is_without_them(simulation):
    for frame in (simulation.frame, simulation.test, simulation.events.to_frame()):
        expected = product(simulation, frame, coordinates=-2)
        np.testing.assert_allclose(frame["score"], expected, rtol=1e-12, atol=1e-12)


def test_probability_of_the_test_pairs_has_them(simulation, model):
    test = simulation.test.head(200)
    z = POPULATIONS["gamma"].rvs(20_000, random_state=np.random.default_rng(0))
    values = FORMULAS[model](logit(simulation, test).reshape(-1, 1), z)
    # all pairs share the draws, so that their errors are nearly one: 4 standard errors, and no more for their number
    assert (np.abs(test["probability"] - values.mean(1)) < 4 * values.std(1) / np.sqrt(len(z))).all()


@pytest.mark.parametrize("model", ["product", "additive", "inverse-logistic"], indirect=True)
def test_labels_have_them(simulation, model):
    frame = simulation.frame
    probability = FORMULAS[model](logit(simulation, frame), popularity(simulation, frame))
    term = added(simulation, frame)
    for part in (term > np.median(term), term <= np.median(term)):
        gap = (frame["label"] - probability)[part].sum()
        assert abs(gap) < 4 * np.sqrt((probability * (1 - probability))[part].sum())


def test_choices_of_pda_have_them():
    simulation = pb.simulate("pda", users=3, items=6, interactions=30_000, seed=2, **TERMS)
    users, items = [f"u{code}" for code in range(3)], [f"i{code}" for code in range(6)]
    pairs = pd.MultiIndex.from_product([users, items], names=["user", "item"])
    frame = pairs.to_frame(index=False)
    weight = np.exp(FORMULAS["pda"](logit(simulation, frame), popularity(simulation, frame))).reshape(3, 6)
    count = simulation.frame.groupby(["user", "item"]).size().reindex(pairs, fill_value=0).to_numpy().reshape(3, 6)
    for own, expected in zip(count, weight / weight.sum(1, keepdims=True), strict=True):
        assert chisquare(own, expected * own.sum()).pvalue > 1e-4


def test_an_affinity_drawn_from_its_prior_takes_them(monkeypatch):
    monkeypatch.delitem(AFFINITIES, "embedding")  # as that of another package, without formulas of its own here
    plain, simulation = (pb.simulate(affinity="embedding", **SIZES, **terms) for terms in ({}, TERMS))
    test = simulation.test
    assert plain.truth["item_vectors"].shape == (SIZES["items"], SIZES["items"] + 1)  # one coordinate per item
    expected = product(plain, test) + added(simulation, test)
    np.testing.assert_allclose(product(simulation, test), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("correlation", [-0.9, 0.0, 0.6])
@pytest.mark.parametrize("periods", [1, 4])
@pytest.mark.parametrize("prior", POPULATIONS)
def test_quality_has_its_spread_and_its_correlation_with_popularity(prior, periods, correlation):
    options = {"prior": prior, "periods": periods, "quality": 0.7, "quality_correlation": correlation}
    truth = pb.simulate(**MANY, **options, seed=6).truth
    quality = truth["items"].set_index("item")["quality"]
    z = truth["popularity"].pivot(index="item", columns="period", values="z").loc[quality.index]
    score = stats.norm.ppf(POPULATIONS[prior].cdf(z)).mean(1)
    if periods == 1 and prior == "lognormal":  # as it is documented
        score = np.log(z[0].to_numpy())
    assert kstest(quality, stats.norm(0, 0.7).cdf).pvalue > 1e-4
    assert abs(quality.std() - 0.7) < 4 * 0.7 / np.sqrt(2 * len(quality))
    error = (1 - correlation**2) / np.sqrt(len(quality))
    assert abs(np.corrcoef(quality, score)[0, 1] - correlation) < 4 * error


def test_biases_have_their_spread():
    truth = pb.simulate(users=20_000, items=2, interactions=50, dim=1, user_bias=0.4, seed=6).truth
    assert kstest(truth["users"]["bias"], stats.norm(0, 0.4).cdf).pvalue > 1e-4


def test_each_term_is_the_same_without_the_other():
    both, quality, bias = (
        pb.simulate(**SIZES, **{name: TERMS[name] for name in names}).truth
        for names in (TERMS, ("quality", "quality_correlation"), ("user_bias",))
    )
    pd.testing.assert_frame_equal(both["items"], quality["items"], check_exact=True)
    pd.testing.assert_frame_equal(both["users"], bias["users"], check_exact=True)
    assert not quality["users"]["bias"].any()
    assert not bias["items"]["quality"].any()


def test_seed_decides_them():
    np.random.seed(0)  # the global state must not matter
    one = tables(pb.simulate(**SIZES, **TERMS))
    np.random.seed(1)
    same, other = (tables(pb.simulate(**SIZES | {"seed": seed}, **TERMS)) for seed in (3, 4))
    for name, table in one.items():
        pd.testing.assert_frame_equal(table, same[name], check_exact=True)
        assert name == "parameters" or not table.equals(other[name])


@pytest.mark.parametrize("name", ["quality", "user_bias"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "1", None, True])
def test_wrong_standard_deviations_are_refused(name, value):
    with pytest.raises(ConfigError, match=rf"PB-C083: {name} must be 0 or above and finite, not {value!r}"):
        pb.simulate(**{name: value})


@pytest.mark.parametrize("value", [-1.0, 1, 1.5, float("nan"), "0", None, False])
def test_wrong_correlations_are_refused(value):
    message = rf"PB-C083: quality_correlation must be above -1 and below 1, not {value!r}"
    with pytest.raises(ConfigError, match=message):
        pb.simulate(quality=1.0, quality_correlation=value)
