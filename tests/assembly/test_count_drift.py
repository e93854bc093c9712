"""The drift of counts: recovered from two windows, and what a study has where a log does not tell it."""

import logging
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import nbinom

import pyro_popbias as pb
from pyro_popbias.assembly import count_drift, count_statistics
from pyro_popbias.assembly.count_drift import ITEMS, ROWS, drift, estimate

LEVEL, CONCENTRATION, REPLICATES = 59.45, 0.7, 20


def windows(true, *, items=1682, level=LEVEL, number=2, seed=0):
    """Return counts of items in windows between which log popularity moves by a Normal of the true sd, `(number, K)`."""
    random = np.random.default_rng(seed)
    z, found = random.gamma(CONCENTRATION, 1 / CONCENTRATION, items), []
    for _ in range(number):
        found.append(random.poisson(level * z))
        z = z * np.exp(true * random.normal(size=items) - true**2 / 2)
    return np.stack(found)


def log_of(counts, *, seed=0):
    """Return a log of rows in time, the windows one after another."""
    random, rows = np.random.default_rng(seed), []
    for start, of_window in enumerate(counts):
        item = np.repeat(np.arange(len(of_window)), of_window)
        rows.append(pd.DataFrame({"item": item, "time": start + random.random(len(item))}))
    return (
        pd.concat(rows, ignore_index=True)
        .sample(frac=1, random_state=seed)
        .assign(item=lambda t: "i" + t["item"].astype(str))
    )


@pytest.mark.parametrize("true", [0.0, 0.25, 0.5])
def test_the_drift_is_recovered(true):
    found = [drift(*windows(true, seed=seed)) for seed in range(REPLICATES)]
    # a Gamma distribution stands for one that is not: .02 of .5
    assert np.mean(found) == pytest.approx(true, abs=0.025)
    assert np.std(found) < 0.02


@pytest.mark.parametrize("true", [0.0, 0.25, 0.5])
def test_the_fewest_rows_that_are_taken_have_an_error_of_about_a_tenth(true):
    level = ROWS / ITEMS
    found = [drift(*windows(true, items=ITEMS, level=level, seed=seed)) for seed in range(REPLICATES)]
    assert np.mean(found) == pytest.approx(true, abs=0.08)
    assert np.std(found) < 0.15


def test_it_maximises_the_negative_binomial_likelihood():
    before, after = windows(0.3, items=300)
    a = count_statistics.concentration(np.stack([before, after], axis=1))

    def log_likelihood(value):
        shape = (a + before) / (1 + value**2 * (a + before))
        rate = (a + before.mean()) / (1 + value**2 * (a + before))
        return nbinom.logpmf(after, shape, rate / (rate + after.mean())).sum()

    best = drift(before, after)
    assert log_likelihood(best) > max(log_likelihood(best * 0.99), log_likelihood(best * 1.01))


@pytest.mark.parametrize("true", [0.0, 0.25, 0.5])
def test_the_next_window_is_better_known_by_it(true):
    first, second, third = windows(true, number=3)
    a = count_statistics.concentration(second[:, None])

    def score(value):
        z = count_statistics.item_distributions(second, a, value)
        rate = z.rate.numpy()
        return nbinom.logpmf(third, z.concentration.numpy(), rate / (rate + third.mean())).mean()

    own = score(drift(first, second))
    assert own >= max(score(each) for each in (0.0, 0.1, 0.25, 0.5, 1.0)) - 0.02  # nats per item
    assert own > score(0.0) + 0.3 if true else own > score(0.25) + 0.1


# -- logs ------------------------------------------------------------------------------------------------------------


def test_a_log_is_cut_where_half_of_its_rows_are_over():
    counts = windows(0.5, items=200)
    log, items = log_of(counts), pd.Index([f"i{code}" for code in range(200)])
    found = estimate(log, items)
    half = log["time"].rank(method="first") > len(log) / 2
    early, late = (
        log.loc[rows, "item"].value_counts().reindex(items, fill_value=0).to_numpy() for rows in (~half, half)
    )
    assert found.value == pytest.approx(drift(early, late), rel=1e-6)
    assert (found.rows, found.items) == (len(log), (counts.sum(0) > 0).sum())
    dated = log.assign(time=pd.Timestamp("2020-01-01") + pd.to_timedelta(log["time"], unit="D"))
    assert estimate(dated, items).value == pytest.approx(found.value, rel=1e-6)
    others = pd.concat([log, log.assign(item="elsewhere")])
    assert estimate(others, items) == found


def test_a_log_that_does_not_tell_has_none():
    items = pd.Index([f"i{code}" for code in range(200)])
    log = log_of(windows(0.5, items=200))
    assert estimate(log.drop(columns="time"), items) is None
    assert estimate(log.head(2 * ROWS - 1), items) is None
    assert estimate(log.assign(time=1.0), items) is None  # one time
    assert estimate(log, items[: ITEMS // 2]) is None  # few items


# -- studies ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def log():
    return log_of(windows(0.5, items=60, level=40.0), seed=1)


@pytest.fixture(scope="module")
def events():
    random = np.random.default_rng(5)
    frame = pd.DataFrame({"user": random.integers(30, size=900), "item": random.integers(60, size=900)})
    frame = frame.assign(item="i" + frame["item"].astype(str), label=random.integers(2, size=900))
    return pb.Interactions.from_frame(frame, label="label")


def study_of(counts, **prior):
    return pb.Study(
        model={
            "prior": {"source": "counts", "counts": counts, **prior},
            "affinity": {"name": "embedding", "dim": 2},
            "exposure": "none",
        },
        training={"epochs": 1, "batch_size": 500, "phase_two": 0, "validation": 0.0, "device": "cpu"},
    )


def with_users(log):
    return log.assign(user="elsewhere")


def test_a_fit_has_the_estimate_and_shows_it(log, events, caplog, tmp_path):
    study = study_of(with_users(log))
    assert study.model.prior.drift == 0.25
    with caplog.at_level(logging.INFO, logger="pyro_popbias"):
        fit = pb.fit(events, study=study, progress=False)
    found = estimate(log, events.items)
    assert fit.study.model.prior.drift == pytest.approx(found.value, rel=1e-9)
    assert abs(found.value - 0.5) < 0.15
    assert f"prior: log popularity drifts by {found.value:.3f} (sd), estimated on two windows" in caplog.text
    assert f"log popularity drifts by {found.value:.3g} (sd)" in fit.card
    counts = log["item"].value_counts().reindex(events.items, fill_value=0).to_numpy()
    a = count_statistics.concentration(counts[:, None])
    expected = count_statistics.item_distributions(counts, a, found.value)
    np.testing.assert_allclose(fit.model.prior.all_distributions().concentration, expected.concentration)
    fit.save(tmp_path / "run")
    loaded = pb.load(tmp_path / "run")
    assert loaded.study.model.prior.drift == fit.study.model.prior.drift
    again = pb.Study.from_toml(tmp_path / "run" / "study.toml")
    assert again.model.prior.drift == fit.study.model.prior.drift
    assert "drift" in again.model.prior.model_fields_set


@pytest.mark.parametrize("kind", ["given", "table", "no times", "few rows"])
def test_otherwise_the_study_decides(log, events, kind, caplog):
    counts, prior, expected = with_users(log), {}, 0.25
    if kind == "given":
        prior, expected = {"drift": 0.4}, 0.4
    elif kind == "table":
        counts = log.groupby("item").size().rename("count").reset_index()
    elif kind == "no times":
        counts = counts.drop(columns="time")
    else:
        counts = counts.head(ROWS)
    with caplog.at_level(logging.INFO, logger="pyro_popbias"):
        pair = pb.pair(events, study=study_of(counts, **prior))
    assert pair.study.model.prior.drift == expected
    assert "drifts" not in caplog.text
    assert math.isfinite(pair.model.prior.all_distributions().mean.sum())


def test_the_times_of_a_log_have_the_name_of_the_study(log, events):
    renamed = with_users(log).rename(columns={"time": "when"})
    assert pb.pair(events, study=study_of(renamed)).study.model.prior.drift == 0.25
    study = study_of(renamed).replace("data", time="when")
    assert pb.pair(events, study=study).study.model.prior.drift == pytest.approx(estimate(log, events.items).value)
    words = with_users(log).assign(time="yesterday")
    assert pb.pair(events, study=study_of(words)).study.model.prior.drift == 0.25


def test_a_file_of_a_study_that_gives_no_drift_has_none(tmp_path):
    study = study_of("a.csv")
    assert "drift" not in study.to_toml()
    assert "drift = 0.25" in study_of("a.csv", drift=0.25).to_toml()
    (tmp_path / "study.toml").write_text(study.to_toml())
    assert "drift" not in pb.Study.from_toml(tmp_path / "study.toml").model.prior.model_fields_set


def test_the_limits_are_those_of_the_search():
    before, after = windows(0.0, items=100)
    assert drift(before, before) == pytest.approx(count_drift.LEAST, rel=0.01)
    assert drift(before, after[::-1].copy()) < count_drift.MOST
