import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit, gamma
from scipy.stats import chisquare, kstest

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError, IncompatibleError, UnknownNameError
from pyro_popbias.models import MODELS, PRIORS
from pyro_popbias.simulation import sampling as simulated_rows
from pyro_popbias.simulation.affinities import SIMULATED as AFFINITIES
from pyro_popbias.simulation.likelihoods import PRODUCTS
from pyro_popbias.simulation.populations import DISTRIBUTIONS
from pyro_popbias.simulation.simulate import TESTED

CONCENTRATION, RATE = 1.5, 0.7
OPTIONS = {"users": 60, "items": 40, "interactions": 5_000, "dim": 3, "concentration": CONCENTRATION, "rate": RATE}
# every model, each with its formula written anew
VARIANTS = {
    "product": ({}, lambda x, z, rate: expit(x) * (1 - np.exp(-rate * z))),
    "hill": ({"saturation": "hill"}, lambda x, z, half: expit(x) * z / (z + half)),
    "tanh": ({"saturation": "tanh"}, lambda x, z, rate: expit(x) * np.tanh(rate * z / 2)),
    "additive": ({"model": "additive"}, lambda x, z, slope: 1 / (1 + np.exp(-x - slope * z))),
    "normal": ({"model": "additive", "prior": "normal"}, lambda x, z, slope: 1 / (1 + np.exp(-x - slope * z))),
    **{
        prior: ({"model": "additive", "prior": prior}, lambda x, z, slope: 1 / (1 + np.exp(-x - slope * z)))
        for prior in ("lognormal", "weibull", "exponential")
    },
    "inverse-logistic": ({"model": "inverse-logistic"}, lambda x, z, _: z / (z + np.exp(-x))),
    "pda": ({"model": "pda"}, lambda x, z, power: np.where(x > 0, 1 + x, np.exp(x)) * z**power),
}
LABELLED = [name for name in VARIANTS if name != "pda"]


@pytest.fixture(scope="module", params=AFFINITIES)
def affinity(request):
    return request.param


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request):
    return request.param


@pytest.fixture(scope="module")
def simulation(variant, affinity):
    return pb.simulate(affinity=affinity, seed=3, **OPTIONS | VARIANTS[variant][0])


def parameters(simulation):
    table = simulation.truth["parameters"]
    assert list(table.columns) == ["name", "value"]
    assert table["name"].is_unique
    return dict(zip(table["name"], table["value"], strict=True))


def vector_product(simulation, frame):
    vectors = {}
    for kind in ("user", "item"):
        table = simulation.truth[f"{kind}_vectors"].set_index("id")
        vectors[kind] = table.loc[frame[kind]].to_numpy()
    return (vectors["user"] * vectors["item"]).sum(1)


def true_logit(simulation, frame):
    return vector_product(simulation, frame) + parameters(simulation)["intercept"]


def popularity_of(simulation, frame, period=0):
    table = simulation.truth["popularity"].set_index(["item", "period"])["z"]
    return table.loc[pd.MultiIndex.from_arrays([frame["item"], np.broadcast_to(period, len(frame))])].to_numpy()


def tables(simulation):
    return {"frame": simulation.frame, "test": simulation.test, **simulation.truth}


def test_shapes_and_ids(simulation, variant, affinity):
    columns = ["user", "item"] + ["label"] * (variant != "pda") + ["score"] * (affinity == "fixed")
    assert list(simulation.frame.columns) == columns
    assert len(simulation.events) == len(simulation.frame) == OPTIONS["interactions"]
    assert set(simulation.events.users) == {f"u{code}" for code in range(OPTIONS["users"])}
    assert set(simulation.events.items) <= {f"i{code}" for code in range(OPTIONS["items"])}
    pd.testing.assert_frame_equal(simulation.events.to_frame(), simulation.frame, check_dtype=False)
    assert list(simulation.test.columns) == ["user", "item", "probability"] + ["score"] * (affinity == "fixed")
    assert len(simulation.test) == TESTED
    assert set(simulation.test["user"]) <= set(simulation.events.users)
    assert set(simulation.test["item"]) <= set(simulation.events.items)


def test_truth(simulation, variant, affinity):
    popularity = simulation.truth["popularity"]
    assert list(popularity.columns) == ["item", "period", "z"]
    assert popularity["item"].tolist() == [f"i{code}" for code in range(OPTIONS["items"])]
    assert (popularity["period"] == 0).all()
    assert (popularity["z"] > 0).all() or variant == "normal"
    own = {"product": "rate", "tanh": "rate", "hill": "half", "inverse-logistic": None}.get(variant, "gamma")
    expected = {"concentration": CONCENTRATION} if variant not in ("normal", "exponential") else {}
    expected |= {own: RATE} if own else {}
    found = parameters(simulation)
    assert {
        name: value for name, value in found.items() if name in ("rate", "half", "gamma", "concentration")
    } == expected
    if affinity in ("embedding", "fixed"):
        assert found.keys() == expected.keys() | {"intercept"}
    for kind in ("user", "item"):
        table = simulation.truth[f"{kind}_vectors"]
        assert list(table.columns) == ["id", *map(str, range(table.shape[1] - 1))]
        assert table["id"].tolist() == [f"{kind[0]}{code}" for code in range(OPTIONS[f"{kind}s"])]


def test_probability_of_the_test_pairs_is_the_mean_over_popularity(simulation, variant):
    test = simulation.test.head(200)
    random = np.random.default_rng(0)
    draws = distribution_of(VARIANTS[variant][0].get("prior", "gamma")).rvs(20_000, random_state=random)
    values = VARIANTS[variant][1](true_logit(simulation, test).reshape(-1, 1), draws, RATE)
    error = values.std(1) / np.sqrt(len(draws))
    # all pairs share the draws, so that their errors are nearly one: 4 standard errors, and no more for their number
    assert (np.abs(test["probability"] - values.mean(1)) < 4 * error).all()


@pytest.mark.parametrize("variant", LABELLED, indirect=True)
def test_labels_agree_with_the_truth(simulation, variant):
    frame = simulation.frame
    z, x = popularity_of(simulation, frame), true_logit(simulation, frame)
    probability = VARIANTS[variant][1](x, z, RATE)
    for part in (np.ones(len(frame), dtype=bool), z > np.median(z), z <= np.median(z), x > np.median(x)):
        gap = (frame["label"] - probability)[part].sum()
        assert abs(gap) < 4 * np.sqrt((probability * (1 - probability))[part].sum())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("variant", LABELLED)
def test_positive_rate_of_the_defaults(variant, affinity, seed):
    frame = pb.simulate(affinity=affinity, seed=seed, **VARIANTS[variant][0]).frame
    assert 0.2 <= frame["label"].mean() <= 0.6


def test_choices_of_pda_are_in_proportion_to_exp_score(affinity):
    simulation = pb.simulate("pda", affinity, users=3, items=6, interactions=30_000, seed=2)
    assert simulation.events.label is None
    pairs = pd.MultiIndex.from_product([["u0", "u1", "u2"], [f"i{code}" for code in range(6)]], names=["user", "item"])
    frame = pairs.to_frame(index=False)
    score = VARIANTS["pda"][1](true_logit(simulation, frame), popularity_of(simulation, frame), 1.0).reshape(3, 6)
    share = np.exp(score) / np.exp(score).sum(1, keepdims=True)
    count = simulation.frame.groupby(["user", "item"]).size().reindex(pairs, fill_value=0).to_numpy().reshape(3, 6)
    for own, expected in zip(count, share, strict=True):
        assert chisquare(own, expected * own.sum()).pvalue > 1e-4
    assert chisquare(count.sum(1)).pvalue > 1e-4  # users are uniform


@pytest.mark.parametrize("held", [1, 25, 400])
def test_choices_are_the_same_in_blocks_of_any_size(monkeypatch, held):
    expected = pb.simulate("pda", seed=4, periods=2, **OPTIONS).frame
    monkeypatch.setattr(simulated_rows, "SCORES", held)
    pd.testing.assert_frame_equal(pb.simulate("pda", seed=4, periods=2, **OPTIONS).frame, expected)


def distribution_of(prior):
    """Return scipy's distribution of a prior, with mean 1 and variance 1/a where it has a concentration."""
    if prior == "gamma":
        return stats.gamma(CONCENTRATION, scale=1 / CONCENTRATION)
    if prior == "lognormal":
        variance = np.log(1 + 1 / CONCENTRATION)
        return stats.lognorm(np.sqrt(variance), scale=np.exp(-variance / 2))
    if prior == "weibull":
        shape = brentq(lambda k: gamma(1 + 2 / k) / gamma(1 + 1 / k) ** 2 - 1 - 1 / CONCENTRATION, 0.5, 5)
        return stats.weibull_min(shape, scale=1 / gamma(1 + 1 / shape))
    return {"exponential": stats.expon(), "normal": stats.norm()}[prior]


@pytest.mark.parametrize("prior", DISTRIBUTIONS)
def test_distributions_of_the_integrals_and_scores_are_those_of_the_draws(prior):
    distribution, expected = DISTRIBUTIONS[prior], distribution_of(prior)
    of_integrals = distribution.distribution(CONCENTRATION)
    assert of_integrals.mean.item() == pytest.approx(expected.mean(), rel=1e-9)
    assert of_integrals.variance.item() == pytest.approx(expected.var(), rel=1e-9)
    assert issubclass(PRIORS[prior].family, type(of_integrals))
    score = np.linspace(-4, 4, 33)
    z = distribution.value(score, CONCENTRATION)
    np.testing.assert_allclose(z, expected.ppf(stats.norm.cdf(score)), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(distribution.score(z, CONCENTRATION), score, atol=1e-6)


def test_distributions_are_those_of_the_priors():
    assert set(DISTRIBUTIONS) == set(PRIORS)


@pytest.mark.parametrize("prior", DISTRIBUTIONS)
@pytest.mark.parametrize("periods", [1, 3])
def test_popularity_has_the_population_distribution_in_every_period(prior, periods):
    table = pb.simulate(
        "additive",
        prior=prior,
        items=4_000,
        users=2,
        interactions=50,
        concentration=CONCENTRATION,
        periods=periods,
        seed=1,
    ).truth["popularity"]
    distribution = distribution_of(prior)
    z = table.pivot(index="item", columns="period", values="z")
    assert list(z.columns) == list(range(periods))
    for period in z:
        assert kstest(z[period], distribution.cdf).pvalue > 1e-4
    for period in range(1, periods):
        assert z[period].corr(z[period - 1], method="spearman") > 0.9


@pytest.mark.parametrize("model", ["product", "pda"])
def test_periods_of_the_log_are_those_of_the_truth(model):
    simulation = pb.simulate(model, periods=4, seed=6, **OPTIONS | {"interactions": 20_000})
    frame, events = simulation.frame, simulation.events
    period = np.floor(frame["time"]).astype(int)
    assert events.period.tolist() == period.tolist()
    label = "label" if model == "product" else None
    again = pb.Interactions.from_frame(frame, label=label, time="time", periods=4)
    assert again.period.tolist() == period.tolist()
    train, _ = events.split(test=0.2)
    assert train.period.tolist() == np.floor(train.time).astype(int).tolist()
    assert chisquare(np.bincount(period)).pvalue > 1e-4
    assert simulation.truth["popularity"]["period"].tolist() == [0, 1, 2, 3] * OPTIONS["items"]
    if label:
        z = popularity_of(simulation, frame, period)
        probability = VARIANTS["product"][1](true_logit(simulation, frame), z, RATE)
        for part in (z > np.median(z), z <= np.median(z)):
            gap = (frame["label"] - probability)[part].sum()
            assert abs(gap) < 4 * np.sqrt((probability * (1 - probability))[part].sum())


@pytest.mark.parametrize("exposure", [-1.0, 0.0, 1.5])
@pytest.mark.parametrize("prior", DISTRIBUTIONS)
def test_exposure_moves_counts(prior, exposure):
    simulation = pb.simulate("additive", prior=prior, items=20, interactions=20_000, exposure=exposure, seed=2)
    truth = simulation.truth["popularity"]
    weight = truth["z"] ** exposure if prior != "normal" else np.exp(exposure * truth["z"])
    count = simulation.frame["item"].value_counts().reindex(truth["item"], fill_value=0)
    assert chisquare(count, len(simulation.frame) * weight / weight.sum()).pvalue > 1e-4
    assert simulation.test["item"].nunique() == (count > 0).sum()


def test_exposure_is_within_each_period():
    simulation = pb.simulate(items=5, interactions=20_000, exposure=1.0, periods=2, seed=2)
    z = simulation.truth["popularity"].pivot(index="item", columns="period", values="z")
    count = pd.crosstab(simulation.frame["item"], np.floor(simulation.frame["time"])).reindex(z.index)
    expected = 0.5 * len(simulation.frame) * z / z.sum()
    assert chisquare(count.to_numpy().ravel(), expected.to_numpy().ravel()).pvalue > 1e-4


@pytest.mark.parametrize("variant", LABELLED)
def test_positives_are_the_rows_with_label_one(variant):
    options = OPTIONS | VARIANTS[variant][0]
    observed = pb.simulate("product", seed=5, **options) if "model" not in options else pb.simulate(seed=5, **options)
    positives = pb.simulate(seed=5, labels="positives", **options)
    frame = observed.frame[observed.frame["label"] == 1].drop(columns="label").reset_index(drop=True)
    pd.testing.assert_frame_equal(positives.frame.reset_index(drop=True), frame)
    assert positives.events.label is None
    assert set(positives.test["item"]) <= set(positives.events.items)


def test_affinity_has_a_standard_deviation_near_one(affinity):
    spread = [vector_product(sim := pb.simulate(affinity=affinity, seed=seed), sim.test).std() for seed in range(4)]
    assert 0.8 < np.mean(spread) < 1.3


def test_linear_affinity_is_that_of_its_features():
    simulation = pb.simulate(affinity="linear", seed=1, **OPTIONS)
    values = parameters(simulation)
    beta = {side: [values[f"beta_{side}[{position}]"] for position in range(4)] for side in ("user", "item")}
    assert beta == {"user": [0.5, -0.5, 0.3, 0.0], "item": [0.4, -0.3, 0.2, 0.1]}
    test = simulation.test
    terms = [
        getattr(simulation, f"{side}_features").loc[test[side]].to_numpy() @ beta[side] for side in ("user", "item")
    ]
    np.testing.assert_allclose(sum(terms), vector_product(simulation, test), rtol=1e-12, atol=1e-12)


def test_factorization_machine_has_an_effect_of_its_features():
    simulation = pb.simulate(affinity="factorization-machine", seed=1)
    values = parameters(simulation)
    item_vectors = simulation.truth["item_vectors"].set_index("id").to_numpy()
    features = simulation.item_features
    weight = features["group"].map(lambda level: values[f"weight_item[group={level}]"])
    # the item's own term: its features' weights, and none of its id
    np.testing.assert_allclose(
        item_vectors[:, -1], weight + features["number"] * values["weight_item[number]"], atol=1e-12
    )
    vectors = item_vectors[:, :-2] * np.sqrt(item_vectors.shape[1] - 2)
    design = np.column_stack([pd.get_dummies(features["group"]), features["number"]]).astype(float)
    left = vectors - design @ np.linalg.lstsq(design, vectors, rcond=None)[0]
    assert left.var() / vectors.var() == pytest.approx(0.5, abs=0.15)  # half of the variance is the id's


def test_features_reach_the_events(affinity):
    simulation = pb.simulate(affinity=affinity, seed=1, **OPTIONS)
    for side, ids in (("user", simulation.events.users), ("item", simulation.events.items)):
        frame, features = getattr(simulation, f"{side}_features"), getattr(simulation.events, f"{side}_features")
        if affinity in ("embedding", "fixed"):
            assert frame is features is None
        else:
            assert frame.index.tolist() == simulation.truth[f"{side}_vectors"]["id"].tolist()
            numbers = [name for name in frame if pd.api.types.is_numeric_dtype(frame[name])]
            position = [list(frame).index(name) for name in numbers]
            np.testing.assert_array_equal(
                features.value[:, position], frame.loc[ids, numbers].to_numpy(dtype="float32")
            )


@pytest.mark.parametrize("interactions", [1, 7, 300])
@pytest.mark.parametrize("model", MODELS)
def test_users_and_items_of_the_test_pairs_are_in_the_events(model, interactions):
    simulation = pb.simulate(model, users=100, items=100, interactions=interactions, seed=5)
    assert set(simulation.test["user"]) <= set(simulation.events.users)
    assert set(simulation.test["item"]) <= set(simulation.events.items)


def test_fixed_affinity_has_its_score_and_the_draws_of_embedding():
    one, other = (pb.simulate("product", affinity, seed=3, **OPTIONS) for affinity in ("embedding", "fixed"))
    for frame in (other.frame, other.test, other.events.to_frame()):
        np.testing.assert_allclose(frame["score"], vector_product(other, frame), rtol=1e-12, atol=1e-12)
    for name in ("frame", "test"):
        pd.testing.assert_frame_equal(tables(one)[name], tables(other)[name].drop(columns="score"))


def test_seed_decides_everything(variant, affinity):
    options = OPTIONS | VARIANTS[variant][0] | {"affinity": affinity}
    np.random.seed(0)  # the global state must not matter
    one = tables(pb.simulate(seed=8, **options))
    np.random.seed(1)
    same, other = tables(pb.simulate(seed=8, **options)), tables(pb.simulate(seed=9, **options))
    for name, table in one.items():
        pd.testing.assert_frame_equal(table, same[name], check_exact=True)
        # without quality and bias the tables of items and users are of zeros
        assert name in ("parameters", "items", "users") or not table.equals(other[name])


@pytest.mark.parametrize("concentration", [1e-3, 1e6])
@pytest.mark.parametrize("variant", VARIANTS)
def test_populations_of_extreme_spread(variant, concentration):
    options = {"users": 20, "items": 20, "interactions": 200, "concentration": concentration, "periods": 2}
    simulation = pb.simulate(**options | VARIANTS[variant][0])
    assert np.isfinite(simulation.truth["popularity"]["z"]).all()
    assert np.isfinite(simulation.test["probability"]).all()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"model": "prodct"}, r"PB-C076: unknown model 'prodct'; did you mean 'product'\? Names: product"),
        ({"model": None}, r"PB-C076: unknown model None.* Names: product, additive, inverse-logistic, pda"),
        ({"affinity": "embeding"}, r"PB-C076: unknown affinity 'embeding'; did you mean 'embedding'\?"),
        (
            {"affinity": "deep"},
            r"PB-C076: unknown affinity 'deep'.* Names: embedding, fixed, linear, factorization-machine",
        ),
        ({"saturation": "hil"}, r"PB-C076: unknown saturation 'hil'; did you mean 'hill'\?"),
        (
            {"prior": "lognormel"},
            r"PB-C076: unknown prior 'lognormel'; did you mean 'lognormal'\? Names: gamma, lognormal",
        ),
        ({"labels": "positive"}, r"PB-C076: unknown labels 'positive'; did you mean 'positives'\?"),
    ],
)
def test_unknown_names_are_refused(names, message):
    with pytest.raises(UnknownNameError, match=message) as caught:
        pb.simulate(**names)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("model", ["product", "inverse-logistic", "pda"])
def test_priors_that_the_model_does_not_allow_are_refused(model):
    with pytest.raises(IncompatibleError, match=f"PB-C078: prior 'normal' .* model '{model}' may not; use 'gamma'"):
        pb.simulate(model, prior="normal")


def test_exposure_among_all_is_refused():
    with pytest.raises(IncompatibleError, match=r"PB-C078: model 'pda' chooses among all .*leave exposure at 0"):
        pb.simulate("pda", exposure=1.0)


@pytest.mark.parametrize("name", ["users", "items", "interactions", "dim", "periods"])
@pytest.mark.parametrize("size", [0, -3, 2.5, True, "3", None])
def test_wrong_sizes_are_refused(name, size):
    with pytest.raises(ConfigError, match=rf"PB-C084: {name} must be an integer >= 1, not {size!r}"):
        pb.simulate(**{name: size})


def test_numpy_integers_are_whole_numbers():
    options = {"users": 10, "items": 5, "interactions": 30, "dim": 2, "periods": 1, "seed": 4}
    same = pb.simulate(**{name: np.int64(value) for name, value in options.items()})
    pd.testing.assert_frame_equal(same.frame, pb.simulate(**options).frame)


@pytest.mark.parametrize("seed", [-1, 0.5, True, None])
def test_wrong_seeds_are_refused(seed):
    with pytest.raises(ConfigError, match="PB-C084: seed must be an integer >= 0"):
        pb.simulate(seed=seed)


@pytest.mark.parametrize("name", ["concentration", "rate"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), "1", None, True])
def test_constants_that_are_not_positive_are_refused(name, value):
    with pytest.raises(ConfigError, match=r"PB-C083: concentration and rate must be above 0 and finite"):
        pb.simulate(**{name: value}, users=5, items=5, interactions=20)


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), "1", None, True])
def test_exposures_that_are_no_numbers_are_refused(value):
    with pytest.raises(ConfigError, match=r"PB-C083: exposure must be a finite number"):
        pb.simulate(exposure=value)


def test_scores_that_overflow_are_refused():
    with pytest.raises(ConfigError, match=r"PB-C083: rate=1e\+300 makes scores that are not finite; use a smaller one"):
        pb.simulate("pda", rate=1e300)


def test_a_log_without_a_positive_is_refused():
    with pytest.raises(ConfigError, match="PB-C083: none of 1 interactions is positive; ask for more"):
        pb.simulate(interactions=1, labels="positives", rate=1e-9)


def test_every_saturation_is_tested():
    assert set(PRODUCTS) == {VARIANTS[name][0].get("saturation", "exponential") for name in VARIANTS}
    assert set(MODELS) == {VARIANTS[name][0].get("model", "product") for name in VARIANTS}


def test_sizes_are_integers_of_any_kind():
    sizes = {"users": 10, "items": 8, "interactions": 100, "seed": 3}
    one = pb.simulate(**{name: np.int64(size) for name, size in sizes.items()}, dim=np.int32(2))
    pd.testing.assert_frame_equal(one.frame, pb.simulate(**sizes, dim=2).frame)
