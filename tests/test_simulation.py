import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError, UnknownNameError
from pyro_popbias.simulation import TESTED

CONCENTRATION, RATE = 1.5, 0.7
OPTIONS = {"users": 60, "items": 40, "interactions": 5_000, "dim": 3, "concentration": CONCENTRATION, "rate": RATE}


@pytest.fixture(scope="module", params=["embedding", "fixed"])
def simulation(request):
    return pb.simulate("product", request.param, seed=3, **OPTIONS)


def true_affinity(simulation, frame):
    vectors = {}
    for kind in ("user", "item"):
        table = simulation.truth[f"{kind}_vectors"].set_index("id")
        vectors[kind] = table.loc[frame[kind]].to_numpy()
    return (vectors["user"] * vectors["item"]).sum(1)


def tables(simulation):
    return {"frame": simulation.frame, "test": simulation.test, **simulation.truth}


def test_shapes_and_ids(simulation):
    assert len(simulation.events) == len(simulation.frame) == OPTIONS["interactions"]
    assert list(simulation.frame.columns[:3]) == ["user", "item", "label"]
    assert set(simulation.frame["label"]) == {0, 1}
    assert set(simulation.events.users) == {f"u{code}" for code in range(OPTIONS["users"])}
    assert set(simulation.events.items) == {f"i{code}" for code in range(OPTIONS["items"])}
    pd.testing.assert_frame_equal(simulation.events.to_frame(), simulation.frame, check_dtype=False)
    assert len(simulation.test) == TESTED
    assert list(simulation.test.columns[:3]) == ["user", "item", "probability"]


def test_truth(simulation):
    popularity = simulation.truth["popularity"]
    assert list(popularity.columns) == ["item", "period", "z"]
    assert popularity["item"].tolist() == [f"i{code}" for code in range(OPTIONS["items"])]
    assert (popularity["period"] == 0).all()
    assert (popularity["z"] > 0).all()
    parameters = simulation.truth["parameters"]
    assert list(parameters.columns) == ["name", "value"]
    values = dict(zip(parameters["name"], parameters["value"], strict=True))
    assert values == {"intercept": 0.0, "concentration": CONCENTRATION, "rate": RATE}
    for kind in ("user", "item"):
        table = simulation.truth[f"{kind}_vectors"]
        assert list(table.columns) == ["id", "0", "1", "2"]
        assert table["id"].tolist() == [f"{kind[0]}{code}" for code in range(OPTIONS[f"{kind}s"])]


def test_popularity_has_the_population_law():
    z = pb.simulate(items=4_000, users=2, interactions=1, concentration=CONCENTRATION, seed=1).truth["popularity"]["z"]
    assert abs(z.mean() - 1) < 4 * np.sqrt(1 / CONCENTRATION / len(z))  # Gamma(a, a): mean 1, variance 1/a


def test_affinity_has_a_standard_deviation_near_one():
    simulation = pb.simulate(seed=2)
    assert true_affinity(simulation, simulation.test).std() == pytest.approx(1, abs=0.15)
    assert 0.2 <= simulation.frame["label"].mean() <= 0.6  # the interface's range of the positive rate


def test_labels_agree_with_the_truth(simulation):
    frame = simulation.frame
    z = simulation.truth["popularity"].set_index("item")["z"].loc[frame["item"]].to_numpy()
    probability = expit(true_affinity(simulation, frame)) * -np.expm1(-RATE * z)
    for part in (np.ones(len(frame), dtype=bool), z > np.median(z), z <= np.median(z)):
        gap = (frame["label"] - probability)[part].sum()
        assert abs(gap) < 4 * np.sqrt((probability * (1 - probability))[part].sum())


def test_probability_of_the_test_pairs_is_the_intervention(simulation):
    attention = 1 - (CONCENTRATION / (CONCENTRATION + RATE)) ** CONCENTRATION
    expected = expit(true_affinity(simulation, simulation.test)) * attention
    np.testing.assert_allclose(simulation.test["probability"], expected, rtol=1e-12)


@pytest.mark.parametrize("interactions", [1, 7, 300])
def test_users_and_items_of_the_test_pairs_are_in_the_events(interactions):
    simulation = pb.simulate(users=100, items=100, interactions=interactions, seed=5)
    assert set(simulation.test["user"]) <= set(simulation.events.users)
    assert set(simulation.test["item"]) <= set(simulation.events.items)


def test_fixed_affinity_has_its_score(simulation):
    if "score" in simulation.frame:
        for frame in (simulation.frame, simulation.test, simulation.events.to_frame()):
            np.testing.assert_allclose(frame["score"], true_affinity(simulation, frame), rtol=1e-12, atol=1e-12)
    else:
        assert "score" not in simulation.test


def test_only_fixed_affinity_has_a_score():
    one, other = (pb.simulate("product", affinity, seed=3, **OPTIONS) for affinity in ("embedding", "fixed"))
    assert "score" not in one.frame
    assert "score" not in one.test
    for name in ("frame", "test"):  # the same draws in all else
        pd.testing.assert_frame_equal(tables(one)[name], tables(other)[name].drop(columns="score"))


def test_seed_decides_everything():
    np.random.seed(0)  # the global state must not matter
    one = tables(pb.simulate(seed=8, **OPTIONS))
    np.random.seed(1)
    same, other = tables(pb.simulate(seed=8, **OPTIONS)), tables(pb.simulate(seed=9, **OPTIONS))
    for name, table in one.items():
        pd.testing.assert_frame_equal(table, same[name], check_exact=True)
        assert name == "parameters" or not table.equals(other[name])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"model": "prodct"}, r"PB-C076: unknown model 'prodct'; did you mean 'product'\? Names: product"),
        ({"affinity": "embeding"}, r"PB-C076: unknown affinity 'embeding'; did you mean 'embedding'\?"),
        ({"affinity": "linear"}, r"PB-C076: unknown affinity 'linear'.* Names: embedding, fixed"),
    ],
)
def test_unknown_names_are_refused(names, message):
    with pytest.raises(UnknownNameError, match=message) as caught:
        pb.simulate(**names)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["users", "items", "interactions", "dim"])
@pytest.mark.parametrize("size", [0, -3])
def test_sizes_below_one_are_refused(name, size):
    with pytest.raises(ConfigError, match="PB-C084: users, items, interactions and dim must be whole numbers from 1"):
        pb.simulate(**{name: size})


@pytest.mark.parametrize("value", [2.5, True, "3"])
def test_sizes_that_are_no_whole_numbers_are_refused(value):
    with pytest.raises(ConfigError, match=r"PB-C084: .* whole numbers from 1"):
        pb.simulate(users=value)


@pytest.mark.parametrize("name", ["concentration", "rate"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_constants_that_are_not_positive_are_refused(name, value):
    with pytest.raises(ConfigError, match=r"PB-C08[0-9]: .*concentration and rate"):
        pb.simulate(**{name: value}, users=5, items=5, interactions=20)
