import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from pyro.distributions import LogNormal

import pyro_popbias as pb
from pyro_popbias.checks import accuracy as module
from pyro_popbias.checks.accuracy import COLUMNS, ROWS, Accuracy, accuracy
from pyro_popbias.checks.importance import ENOUGH, effective_share, k_hat, largest_k
from pyro_popbias.guides.popularity_guide import Bounds

pytestmark = pytest.mark.slow

GATED = [name for name, cls in pb.GUIDES.items() if cls.bounds is not None]


@pytest.fixture(scope="module")
def simulation():
    return pb.simulate(affinity="embedding", users=200, items=60, interactions=10_000, seed=0)


def known(simulation, *, guide="lognormal", prior=None, **model):
    vectors = {name: simulation.truth[name] for name in ("user_vectors", "item_vectors")}
    prior = prior or {"name": "gamma", "source": "fixed", "concentration": 2.0}
    return pb.Study(
        model={"affinity": {"name": "fixed", **vectors}, "prior": prior, **model},
        guide={"name": guide},
        training={"validation": 0.1, "epochs": 3, "device": "cpu"},
    )


@pytest.fixture(scope="module")
def half_steps(phase_two_as):
    """Take half of the steps of phase two, which is enough for a log of this size."""
    with phase_two_as(steps=20, most_cycles=2):
        yield


@pytest.fixture(scope="module")
def fits(simulation, half_steps):
    """Return a function: guide to a fit with known affinities, each made once."""
    made = {}

    def of(guide):
        if guide not in made:
            made[guide] = pb.fit(simulation.events, study=known(simulation, guide=guide), progress=False)
        return made[guide]

    return of


def test_bounds_are_those_of_two_families():
    assert GATED == ["gamma", "lognormal", "markov"]  # which is lognormal where there is one period
    assert {pb.GUIDES[name].bounds for name in GATED} == {Bounds(mean=0.02, high=0.15)}


@pytest.mark.nightly
@pytest.mark.parametrize("guide", GATED)
def test_trained_guides_reach_their_bounds(fits, guide):
    found = accuracy(fits(guide))
    assert not found.reason
    table = found.table
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 60
    assert (table["rows"] >= ROWS).all()
    assert table["rows"].sum() == 9_000
    assert all(finding.passed for finding in found.findings()), [finding.words for finding in found.findings()]
    assert (table["kl"] > 0).all()
    assert table["coverage"].between(0.8, 0.97).all()
    assert (table["mean_error"] * table["exact_sd"]).to_numpy() == pytest.approx(
        (table["mean"] - table["exact_mean"]).to_numpy()
    )
    # k-hat only where the effective share is low
    assert (table["k_hat"].isna() >= (table["ess"] >= ENOUGH)).all()


def test_kl_ess_and_coverage_see_the_same_thing(fits):
    """A q that is wider than the posterior is far from it, has few effective draws, and covers too much."""
    fit = fits("lognormal")
    right = accuracy(fit).table
    rows = fit.guide.popularity.rows
    with torch.no_grad():
        before = rows.clone()
        fit.guide.popularity.rows_unconstrained[:, 1] += np.log(2)
        wide = accuracy(fit)
        fit.guide.popularity.rows_unconstrained.copy_(before)
    assert not wide.findings()[0].passed
    assert "use another guide; otherwise train longer" in wide.findings()[0].words
    # KL of a Normal of twice the scale: (4 - 1)/2 - log 2
    assert wide.table["kl"].median() == pytest.approx(1.5 - np.log(2), abs=0.15)
    assert (wide.table["coverage"] > right["coverage"]).all()
    assert wide.table["ess"].mean() < 0.7 < right["ess"].mean()
    assert wide.table["sd_ratio"].mean() > 1.7


def test_same_seed_same_table_and_any_number_of_items(fits):
    fit = fits("lognormal")
    some, again, other = (accuracy(fit, items=10, seed=seed).table for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(some, again, check_exact=True)
    assert set(some["item"]) != set(other["item"])
    everything = accuracy(fit, seed=1).table
    same = everything[everything["item"].isin(some["item"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, some, rtol=1e-6)  # compressed together with other cells, to rounding


def test_chunks_change_nothing(fits, monkeypatch):
    fit = fits("lognormal")
    whole = accuracy(fit).table
    monkeypatch.setattr(module, "CHUNK", 700)
    pd.testing.assert_frame_equal(accuracy(fit).table, whole, rtol=1e-6)


def test_a_loaded_run_has_the_same_accuracy(fits, tmp_path):
    fit = fits("gamma")
    fit.save(tmp_path / "run")
    pd.testing.assert_frame_equal(accuracy(pb.load(tmp_path / "run")).table, accuracy(fit).table)


@pytest.mark.nightly
@pytest.mark.usefixtures("half_steps")
@pytest.mark.parametrize(
    ("model", "guide", "prior", "implicit"),
    [
        ("product", "lognormal", "gamma", False),
        ("product", "lognormal", "gamma", True),  # which rows are weighed how is the same for all models
        ("inverse-logistic", "gamma", "gamma", False),
        ("additive", "normal", "normal", False),
    ],
)
def test_models_with_their_rows(simulation, model, guide, prior, implicit):
    frame = simulation.frame
    if implicit:
        frame = frame[frame["label"] == 1].drop(columns="label")
    events = pb.Interactions.from_frame(frame, **({} if implicit else {"label": "label"}))
    study = known(simulation, name=model, guide=guide, prior={"name": prior})
    found = accuracy(pb.fit(events, study=study, progress=False))
    assert found.table["kl"].between(0, 0.3).all()
    assert found.findings()[0].value < 0.02


@pytest.mark.usefixtures("short_training")
def test_a_given_score_and_periods(frame):
    frame["known"] = np.random.default_rng(0).normal(size=len(frame))
    events = pb.Interactions.from_frame(frame, label="label", time="time", periods=3)
    study = pb.Study(
        model={"affinity": {"name": "fixed", "score": "known"}},
        training={"epochs": 1, "validation": 0.1, "device": "cpu"},
    )
    found = accuracy(pb.fit(events, study=study, progress=False))
    assert found.table["rows"].sum() == 360
    assert set(found.table["period"]) == {0, 1, 2}
    assert np.isfinite(found.table["kl"]).all()


@pytest.mark.parametrize(
    ("model", "guide", "reason"),
    [
        ({"name": "pda"}, "gamma", "compares items.*NUTS on 50 items"),
        ({}, "point", "is a point estimate, not a distribution"),
        ({"latent": "interaction"}, "gamma", "every interaction has its own popularity"),
    ],
)
def test_what_cannot_be_checked_says_why(events, model, guide, reason):
    made = pb.pair(events, study=pb.Study(model=model, guide={"name": guide}))
    found = accuracy(made)
    assert re.search(reason, found.reason)
    assert found.table.empty
    assert tuple(found.table.columns) == COLUMNS
    (finding,) = found.findings()
    assert finding.passed
    assert finding.words == f"Not checked: {found.reason}."
    assert np.isnan(finding.value)


def test_other_families_are_reported(events):
    found = accuracy(pb.pair(events, guide="weibull"))
    assert found.bounds is None
    first = found.findings()[0]
    assert first.passed
    assert first.words.endswith("(no bound for this guide).")


def test_few_rows_are_said_to_be_few(events):
    found = accuracy(pb.pair(events, guide="gamma"))
    (finding,) = Accuracy(found.table.assign(rows=ROWS - 1), "", found.bounds).findings()
    assert finding.words == "Not checked: no checked cell has 20 or more training rows."


def test_the_mean_kl_is_over_cells_with_enough_rows():
    table = pd.DataFrame({"rows": [1, ROWS - 1, ROWS, 400], "kl": [0.001, 0.002, 0.02, 0.04]})
    assert Accuracy(table, "", None).mean_kl == pytest.approx(0.03)
    assert np.isnan(Accuracy(table.iloc[:2], "", None).mean_kl)
    assert np.isnan(Accuracy(table.iloc[:0], "not checked", None).mean_kl)


def test_the_check_prints_the_mean_kl(events):
    found = accuracy(pb.pair(events, guide="gamma"))
    first = found.findings()[0]
    assert first.value == found.mean_kl
    assert f"mean KL(q || exact posterior) is {first.value:.4f} nats" in first.words


@pytest.mark.usefixtures("short_training")
def test_errors(events):
    fit = pb.fit(events, study=pb.Study(training={"epochs": 1}), progress=False)
    with pytest.raises(pb.ConfigError, match="PB-C150: items must be an integer >= 1, not 0"):
        accuracy(fit, items=0)
    bare = replace(fit, events=None)
    with pytest.raises(pb.DataError, match="PB-D150: the run was saved without its interactions"):
        accuracy(bare)


def test_effective_share():
    assert effective_share(np.zeros((50, 2))) == pytest.approx([1.0, 1.0])
    log_ratio = np.log(np.array([[3.0], [1.0]]))
    assert effective_share(log_ratio + 700) == pytest.approx([16 / 20])


def test_k_hat_is_that_of_arviz():
    arviz = pytest.importorskip("arviz")
    if not hasattr(arviz, "psislw"):
        pytest.skip("this ArviZ keeps it elsewhere")
    rng = np.random.default_rng(0)
    for scale in (0.5, 0.8, 1.5):
        q, p = LogNormal(0.0, scale), LogNormal(0.0, 1.0)
        z = torch.from_numpy(np.exp(scale * rng.standard_normal(1000)))
        log_ratio = (p.log_prob(z) - q.log_prob(z)).numpy()
        assert k_hat(log_ratio) == pytest.approx(float(arviz.psislw(log_ratio)[1]), abs=0.02)
    assert np.isnan(k_hat(np.zeros(1000)))
    assert largest_k(1000) == pytest.approx(2 / 3)
    assert largest_k(10**6) == 0.7
