import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import pyro_popbias as pb
from pyro_popbias.cli import fit_and_compare as running
from pyro_popbias.cli.app import app
from pyro_popbias.cli.fit_and_compare import run_comparison
from pyro_popbias.comparison import calibration_error
from pyro_popbias.errors import ConfigError, DataError, IncompatibleError, UnknownNameError

pytestmark = pytest.mark.usefixtures("short_training")


def log_score(probability, label):
    """Return the mean log-probability of labels; here no probability is near 0 or 1."""
    return np.log(np.where(label > 0, probability, 1 - probability)).mean()


COLUMNS = [
    "name",
    "model",
    "prior",
    "guide",
    "log_score",
    "calibration_error",
    "elbo",
    "kl",
    "seconds",
    "memory",
    "note",
]


def fit_of(events, model="product", guide="gamma", **training):
    points = {"name": "embedding", "dim": 2, "posterior": "point", "user_bias": False}
    section = {"name": model, "affinity": points}
    options = {"epochs": 2, "batch_size": 200, "validation": 0.2, **training}
    return pb.fit(events, study=pb.Study(model=section, guide={"name": guide}, training=options), progress=False)


@pytest.fixture
def fits(events):
    return {guide: fit_of(events, guide=guide) for guide in ("gamma", "point", "lognormal")}


def test_one_row_a_fit_best_first(fits):
    table = pb.compare(fits)
    assert list(table.columns) == COLUMNS
    assert table["log_score"].is_monotonic_decreasing
    rows = table.set_index("name")
    for name, fit in fits.items():
        held_out = fit.history["validation_log_score"].iloc[-1]
        assert rows.loc[name, "log_score"] == pytest.approx(held_out, abs=1e-9)
    assert rows["kl"].notna().to_dict() == {"gamma": True, "point": False, "lognormal": True}
    assert rows["elbo"].notna().to_dict() == {"gamma": True, "point": False, "lognormal": True}
    assert rows.loc["point", "note"].startswith("no exact KL: ")
    assert (rows["memory"] > 0).all()
    assert (rows["calibration_error"] >= 0).all()


@pytest.mark.slow
def test_elbos_of_other_models_or_rows_are_not_compared(events, fits):
    table = pb.compare({"product": fits["gamma"], "additive": fit_of(events, "additive", seed=3)})
    assert table["elbo"].isna().all()
    assert table["note"].str.contains("no ELBO: models, priors or data differ").all()
    assert table["note"].str.contains("held-out rows differ between fits").all()


@pytest.mark.slow
def test_a_ranking_score_has_no_log_score(events, fits):
    table = pb.compare({"pda": fit_of(events, "pda"), "product": fits["gamma"]})
    assert table["name"].tolist() == ["product", "pda"]
    assert table["note"].iloc[1].startswith("its scores are not probabilities; no exact KL: ")


def test_a_test_of_rows_that_no_fit_has_seen(frame, events):
    train, test = events.split("random", test=0.3, seed=0)
    fit = fit_of(train, validation=0.0)
    row = pb.compare({"a": fit}, test=test).iloc[0]
    score = fit.predict(test.to_frame(), popularity="posterior", unseen="prior")["score"]
    right = np.where(test.label > 0, score, 1 - score)
    assert row["log_score"] == pytest.approx(np.log(right).mean(), abs=1e-12)
    assert np.isnan(pb.compare({"a": fit}).iloc[0]["log_score"])
    assert pb.compare({"a": fit}).iloc[0]["note"] == "no rows were held out"


def test_rows_of_a_test_are_scored_in_their_own_period(make_frame):
    frame = make_frame(rows=1_500)
    sliced = frame[(frame["item"] != "i3") | (frame["time"] < 30)]  # silent in later periods: the prior there
    train = pb.Interactions.from_frame(sliced, label="label", time="time", periods=3)
    fit = fit_of(train, validation=0.0)
    edges = fit.catalogue.edges
    test = frame.assign(time=np.linspace(edges[0] - 50, edges[-1] + 50, len(frame)))  # before, between and after edges
    own = pb.Interactions.from_frame(test, label="label", time="time")
    period = np.clip(np.searchsorted(edges, test["time"], side="right") - 1, 0, 2)
    cell = fit.catalogue.items.get_indexer(test["item"]) * 3 + period
    codes = torch.tensor(fit.catalogue.users.get_indexer(test["user"])), torch.tensor(cell // 3)
    with torch.no_grad():
        x = fit.model.affinity.pairs(*codes, None, {}).mean
        under = [
            fit.model.marginal_probability(x, distribution(torch.tensor(cell))).numpy()
            for distribution in (fit.guide.popularity.posterior, fit.model.prior.distribution)
        ]
    expected = np.where(fit.catalogue.count[cell] > 0, *under)
    row = pb.compare({"a": fit}, test=own, metrics=()).iloc[0]
    assert row["log_score"] == pytest.approx(log_score(expected, own.label), rel=1e-9)
    assert re.fullmatch(r"\d+ of 1500 rows of the test were trained on, and count in log_score", row["note"])
    last = fit.predict(test, popularity="posterior")["score"].to_numpy()
    assert row["log_score"] != pytest.approx(log_score(last, own.label), rel=1e-6)
    row = pb.compare({"a": fit}, metrics=(), test=pb.Interactions.from_frame(test, label="label")).iloc[0]
    assert row["log_score"] == pytest.approx(log_score(last, own.label), rel=1e-9)
    assert row["note"].endswith("; the test has no times: rows are scored in their item's last period with rows")


def test_given_scores_of_a_test(frame):
    scored = frame.assign(affinity=np.sin(np.arange(len(frame))))
    train, test = pb.Interactions.from_frame(scored, label="label").split(test=0.3)
    study = pb.Study(model={"affinity": {"name": "fixed", "score": "affinity"}}, training={"epochs": 2})
    fit = pb.fit(train, study=study, progress=False)
    expected = fit.predict(test.to_frame(), popularity="posterior", unseen="prior")["score"].to_numpy()
    assert pb.compare({"a": fit}, test=test).iloc[0]["log_score"] == pytest.approx(log_score(expected, test.label))
    without = pb.Interactions.from_frame(test.to_frame().drop(columns="affinity"), label="label")
    with pytest.raises(DataError, match="PB-D005: no column 'affinity'"):
        pb.compare({"a": fit}, test=without)


@pytest.mark.slow
def test_the_kl_is_that_of_the_check(fits):
    table = pb.compare(fits).set_index("name")
    for name in ("gamma", "lognormal"):
        findings = fits[name].check().to_frame().set_index("name")
        assert table.loc[name, "kl"] == findings.loc["mean KL", "value"]


def test_no_kl_where_all_cells_have_few_rows(make_frame):
    fit = fit_of(pb.Interactions.from_frame(make_frame(rows=100), label="label"), batch_size=50)
    row = pb.compare({"a": fit}).iloc[0]
    assert np.isnan(row["kl"])
    assert row["note"] == "no exact KL: no checked cell has 20 or more training rows"


def test_calibration_error_of_known_bins():
    probability = np.repeat([0.2, 0.8], 500)
    label = np.concatenate([np.tile([1, 0, 0, 0, 0], 100), np.tile([1, 1, 1, 1, 0], 100)])
    assert calibration_error(probability, label) == pytest.approx(0.0)
    assert calibration_error(probability + 0.1, label) == pytest.approx(0.1)


@pytest.mark.slow
def test_calls_that_cannot_be_answered(frame, fits, tmp_path):
    with pytest.raises(ConfigError, match="PB-C161: compare takes a mapping"):
        pb.compare({})
    with pytest.raises(ConfigError, match="PB-C162: the test has no labels"):
        pb.compare(fits, test=pb.Interactions.from_frame(frame.drop(columns="label")), metrics=())
    with pytest.raises(ConfigError, match="PB-C161: compare takes a mapping"):
        pb.compare({"a": 3})
    with pytest.raises(ConfigError, match="PB-C163: --guides goes with one study file, not with a, b"):
        run_comparison([Path("a"), Path("b")], guides=["gamma"])
    (tmp_path / "study.toml").write_text("")
    with pytest.raises(ConfigError, match=r"PB-C164: .*study.toml is a file; compare run folders, or name --guides"):
        run_comparison([tmp_path / "study.toml"])


def test_no_guide_is_fitted_before_all_are_known_to_fit(tmp_path, monkeypatch):
    path = tmp_path / "study.toml"
    path.write_text('[data]\npath = "rows.csv"\nuser = "user"\nitem = "item"\n')
    monkeypatch.setattr(running, "read_data", None)  # nothing is read either
    with pytest.raises(UnknownNameError, match="PB-C076: unknown guide 'bogus'"):
        run_comparison([path], guides=["gamma", "bogus"])
    with pytest.raises(IncompatibleError, match="PB-C078: guide 'normal' does not live on"):
        run_comparison([path], guides=["gamma", "normal"])


@pytest.mark.slow
def test_other_data_of_the_same_counts_are_other_data(frame, fits):
    renamed = frame.assign(user=frame["user"] + "x")
    other = fit_of(pb.Interactions.from_frame(renamed, label="label", time="time"))
    table = pb.compare({"one": fits["gamma"], "other": other})
    assert table["elbo"].isna().all()
    assert table["note"].str.contains("held-out rows differ").all()
    unseen = pb.compare({"one": fits["gamma"]}, test=other.events)
    assert unseen["note"].str.contains("400 of 400 rows of the test have unseen ids").all()


@pytest.mark.slow
def test_the_command_fits_guides_and_reads_runs(frame, tmp_path, fits):
    frame.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "study.toml").write_text(
        '[data]\npath = "rows.csv"\nuser = "user"\nitem = "item"\nlabel = "label"\n'
        '[model]\naffinity = { name = "embedding", dim = 2 }\n[training]\nepochs = 2\nbatch_size = 200\n'
    )
    out = tmp_path / "table.csv"
    done = CliRunner().invoke(
        app, ["compare", str(tmp_path / "study.toml"), "--guides", "gamma, weibull", "-o", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert set(pd.read_csv(out)["name"]) == {"gamma", "weibull"}
    runs = [str(tmp_path / name) for name in ("gamma", "lognormal")]
    for run, name in zip(runs, ("gamma", "lognormal"), strict=True):
        fits[name].save(run)
    done = CliRunner().invoke(app, ["compare", *runs, "--test", str(tmp_path / "rows.csv"), "-o", str(out)])
    assert isinstance(done.exception, ConfigError)  # a fit from Python has no [data] keys
    assert "PB-C014: a test is read by the keys" in str(done.exception)
    done = CliRunner().invoke(app, ["compare", *runs, "-o", str(out)])
    assert set(pd.read_csv(out)["name"]) == set(runs)
    assert "elbo and kl in nats, seconds in s, memory of parameters in MiB" in done.output
