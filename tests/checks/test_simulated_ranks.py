"""Ranks of the truth, against closed forms; and faults of training, which they must show."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.special import gammainc

import pyro_popbias as pb
from pyro_popbias.checks.known_world import known_pair, with_given_affinity
from pyro_popbias.checks.simulated_ranks import (
    SimulatedRanks,
    between,
    by_chance,
    central,
    distance,
    figures,
    simulated_ranks,
)
from pyro_popbias.cli.simulated_calibration import calibrated
from pyro_popbias.data.batches import TrainingBatches
from pyro_popbias.errors import ConfigError, IncompatibleError
from pyro_popbias.guides import Bounds
from pyro_popbias.training.restarts import train_restart

FINISH = TrainingBatches._finish
TRAINING = {"epochs": 1, "device": "cpu"}


def normal_ranks(items, rows, power, seed=0):
    """Return ranks of z ~ N(0, 1) with `rows` observations of unit variance, in the posterior with a power of the likelihood."""
    random = np.random.default_rng(seed)
    z = random.normal(size=items)
    mean = z + random.normal(size=items) / np.sqrt(rows)
    precision = 1 + power * rows
    return stats.norm.cdf((z - power * rows * mean / precision) * np.sqrt(precision))


def test_distance_is_that_of_kolmogorov_and_smirnov():
    ranks = np.random.default_rng(0).beta(2, 1, size=300)
    assert distance(ranks) == pytest.approx(stats.kstest(ranks, "uniform").statistic, abs=1e-12)
    other = np.random.default_rng(1).uniform(size=200)
    assert between(ranks, other) == pytest.approx(stats.ks_2samp(ranks, other).statistic, abs=1e-12)
    assert distance(np.array([0.5])) == 0.5


def test_the_bound_of_the_control():
    assert by_chance(20_000) == pytest.approx(0.0115, abs=5e-5)
    # half of the worlds are nearer than the median of chance
    nearer = [distance(np.random.default_rng(seed).uniform(size=2_000)) < by_chance(2_000, 0.5) for seed in range(400)]
    assert np.mean(nearer) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(400))


def test_exact_posteriors_have_uniform_ranks():
    found = figures(normal_ranks(20_000, 10, 1.0), np.random.default_rng(9).uniform(size=20_000))
    assert found["distance"] < by_chance(20_000)
    assert found["interval_distance"] < by_chance(20_000)
    assert found["coverage_90"] == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 20_000))


def test_half_a_likelihood_shows_as_theory_says():
    # with many rows q has twice the variance: D = max over x of Phi(sqrt(2) x) - Phi(x), at x^2 = log 2, and intervals twice that
    x = np.sqrt(np.log(2))
    limit = stats.norm.cdf(np.sqrt(2) * x) - stats.norm.cdf(x)
    assert limit == pytest.approx(0.0830, abs=1e-4)
    found = figures(normal_ranks(20_000, 1_000, 0.5), normal_ranks(20_000, 1_000, 1.0))
    assert found["distance"] == pytest.approx(limit, abs=by_chance(20_000))
    assert found["interval_distance"] == pytest.approx(2 * limit, abs=by_chance(20_000))
    assert found["paired"] == pytest.approx(limit, abs=0.006)
    assert found["interval_paired"] == pytest.approx(2 * limit, abs=0.008)


def table_of(guide, exact, rows=30):
    number = len(guide)
    return pd.DataFrame({"item": range(number), "rows": rows, "z": 1.0, "guide": guide, "exact": exact})


@pytest.fixture(scope="module")
def exact_ranks():
    return normal_ranks(5_000, 50, 1.0)


def test_a_perfect_guide_passes(exact_ranks):
    found = SimulatedRanks(table_of(exact_ranks, exact_ranks), "gamma", Bounds(mean=0.02, high=0.15))
    assert found.passed
    assert found.verdict == "calibrated: all rules hold"
    assert [finding.value for finding in found.findings()[1:]] == [0, 0]


def test_a_wide_guide_fails_where_its_family_promises_something(exact_ranks):
    table = table_of(normal_ranks(5_000, 50, 0.5), exact_ranks)
    found = SimulatedRanks(table, "gamma", Bounds(mean=0.02, high=0.15))
    assert found.verdict == "out of calibration: guide, intervals of the guide"
    assert "the bound is 0.0230" in found.findings()[2].words
    shifted = SimulatedRanks(table_of(exact_ranks * 0.94 + 0.03, exact_ranks), "gamma", Bounds(mean=0.02, high=0.15))
    assert [finding.value > 0.023 for finding in shifted.findings()] == [False, True, True]
    assert not any(finding.passed for finding in shifted.findings()[1:])
    free = SimulatedRanks(table, "weibull", None)
    assert free.passed
    assert "(no bound for this guide)" in free.findings()[2].words


def test_a_wrong_control_fails(exact_ranks):
    found = SimulatedRanks(table_of(exact_ranks, exact_ranks**1.2), "weibull", None)
    assert found.verdict == "out of calibration: control"
    assert "what is said of the guide means nothing" in found.findings()[0].words


def test_items_with_few_rows_are_not_ruled(exact_ranks):
    rows = np.where(np.arange(5_000) < 4_000, 19, 20)
    wrong = np.where(rows < 20, exact_ranks**2, exact_ranks)
    found = SimulatedRanks(table_of(wrong, exact_ranks, rows), "gamma", Bounds(mean=0.02, high=0.15))
    assert found.passed
    summary = found.summary().set_index(["posterior", "rows"])
    assert summary.loc[("guide", "fewer than 20"), "items"] == 4_000
    assert summary.loc[("guide", "fewer than 20"), "paired"] > 0.2
    assert summary.loc[("guide", "20 and more"), "paired"] == 0
    few = SimulatedRanks(table_of(wrong[:50], exact_ranks[:50], 3), "gamma", Bounds(mean=0.02, high=0.15))
    assert few.passed
    assert "no item has 20 or more rows" in few.findings()[1].words


def test_ranks_of_a_conjugate_case():
    """Where sigma(x) = 1, a row is a negative with probability e^-z: with no or one positive, posteriors are Gamma mixtures."""
    sizes, a = [3, 8, 20, 40], 2.0
    item = np.repeat([f"i{code}" for code in range(len(sizes))], sizes)
    label = np.zeros(len(item), dtype=int)
    label[[3, 11]] = 1  # one positive of the second item, and one of the third
    frame = pd.DataFrame({"user": "u", "item": item, "label": label, "score": 60.0})
    frame.loc[0, "user"] = "v"
    world = pb.simulate("product", "fixed", users=2, items=4, interactions=40)
    z = np.array([0.7, 0.3, 0.1, 0.02])
    truth = world.truth | {"popularity": pd.DataFrame({"item": [f"i{code}" for code in range(4)], "z": z})}
    world = replace(world, events=pb.Interactions.from_frame(frame, label="label"), truth=truth)
    study = with_given_affinity(pb.Study(guide={"name": "lognormal"}, training=TRAINING))
    pair = known_pair(study, world)
    found = simulated_ranks(pair, world).table.set_index("item")
    positive = np.array([0, 1, 1, 0])
    rate = a + np.array(sizes) - positive
    # e^(-z (m - 1)) (1 - e^-z) = e^(-z (m - 1)) - e^(-z m), each times z^(a - 1) e^(-a z)
    share = np.where(positive, ((rate + 1) / rate) ** a, 0.0)
    one, two = gammainc(a, rate * z), gammainc(a, (rate + 1) * z)
    expected = np.where(positive, (share * one - two) / (share - 1), one)
    np.testing.assert_allclose(found.loc[[f"i{code}" for code in range(4)], "exact"], expected, atol=2e-4)
    q = pair.guide.popularity.posterior(torch.arange(4))
    codes = found.index.get_indexer([f"i{code}" for code in range(4)])
    in_q = stats.norm.cdf((np.log(z[np.argsort(codes)]) - q.loc.detach().numpy()) / q.scale.detach().numpy())
    np.testing.assert_allclose(found["guide"], in_q, atol=1e-9)
    assert found["rows"].sum() == sum(sizes)


@pytest.mark.parametrize(
    "sections",
    [
        {"name": "additive", "slope": "free", "prior": {"name": "normal"}},
        {"name": "additive", "prior": {"name": "lognormal"}},
        {"name": "inverse-logistic", "prior": {"name": "exponential"}},
        {"name": "product", "saturation": {"name": "hill", "half": "learned"}, "prior": {"name": "weibull"}},
    ],
)
def test_nothing_but_popularity_is_trained(sections):
    guide = "normal" if sections["prior"]["name"] == "normal" else "gamma"
    study = with_given_affinity(pb.Study(model=sections, guide={"name": guide}, training=TRAINING | {"phase_two": 1}))
    options = {"saturation": "hill", "rate": 0.7} if sections["name"] == "product" else {}
    world = pb.simulate(
        sections["name"], "fixed", items=20, interactions=500, prior=sections["prior"]["name"], **options
    )
    pair = known_pair(study, world)
    assert list(pair.model.parameters()) == []
    truth = world.truth["parameters"].set_index("name")["value"]
    known = pair.model.estimates()
    assert float(pair.model.affinity.intercept) == truth["intercept"]
    for name in truth.index.intersection(list(known)):
        assert float(known[name]) == pytest.approx(truth[name]), name
    # the labels' log-likelihood is that of the simulation's own formulas
    z = world.truth["popularity"].set_index("item")["z"]
    whole, events = pair.whole(), world.events
    of_rows = torch.from_numpy(z.reindex(events.items).to_numpy(copy=True))[whole.item]
    x = whole.score.double() + pair.model.affinity.intercept
    probability = pair.model.conditional_probability(x, of_rows)
    share, number = float(probability.mean()), len(events)
    assert events.label.mean() == pytest.approx(share, abs=4 * np.sqrt(0.25 / number))
    train_restart(pair, 1, restarts=1, progress=False)
    assert float(pair.model.affinity.intercept) == truth["intercept"]


def test_a_slope_of_the_world_that_no_study_gives():
    study = with_given_affinity(pb.Study(model={"name": "additive"}, training=TRAINING))
    world = pb.simulate("additive", "fixed", items=20, interactions=500, rate=2.0)
    with pytest.raises(ConfigError, match="PB-C453: the world was drawn with other values of gamma than"):
        known_pair(study, world)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"model": {"name": "pda"}}, "model 'pda' compares items"),
        ({"model": {"latent": "interaction"}}, "latent = 'interaction' gives every row its own popularity"),
        ({"model": {"name": "additive", "conformity": True}}, "conformity = true lets users differ"),
        ({"guide": {"name": "point"}}, "guide 'point' is a point estimate"),
        ({"model": {"prior": {"source": "log-share"}}}, "prior source = 'log-share' gives every item its own prior"),
        ({"model": {"prior": {"drift": "random-walk"}}}, "drift = 'random-walk' joins the periods"),
        ({"data": {"time": "t", "periods": 3}}, "periods above 1"),
        ({"model": {"exposure": "poisson"}}, "an exposure part makes counts of rows data"),
        ({"data": {"negatives": 2}}, "negatives are sampled"),
    ],
)
def test_what_cannot_be_calibrated(sections, words):
    with pytest.raises(IncompatibleError, match=f"PB-C450: the study cannot be calibrated: {words}"):
        with_given_affinity(pb.Study(**sections))


def faulty(**change):
    def finish(self, *arguments, **options):
        batch = FINISH(self, *arguments, **options)
        return replace(batch, **{name: factor * getattr(batch, name) for name, factor in change.items()})

    return finish


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("fault", [{}, {"weight": 2.0}, {"scale": 0.5}], ids=["none", "KL x 2", "likelihood x 0.5"])
def test_faults_of_training_show(monkeypatch, fault):
    monkeypatch.setattr(TrainingBatches, "_finish", faulty(**fault))
    study = pb.Study(guide={"name": "lognormal"}, training=TRAINING)
    found = calibrated(study, items=2_000, interactions=100_000, seed=0)
    control, ranks, intervals = found.findings()
    assert control.passed
    assert found.passed == (not fault)
    if fault:
        # of 2,000 items a share p that crosses u has a standard error of sqrt(p / 2000), below .008
        assert intervals.value > 0.1
        assert ranks.value > 0.04
    else:
        assert intervals.value < 0.02
        assert ranks.value < 0.02


def test_central_ranks():
    np.testing.assert_allclose(central(np.array([0.0, 0.25, 0.5, 0.95])), [1.0, 0.5, 0.0, 0.9])
