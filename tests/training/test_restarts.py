"""Independent fits of one study, as chains whose R-hat compares them."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.inference_data.arviz_compat import load_arviz
from pyro_popbias.training import restarts
from pyro_popbias.training.loop import train
from pyro_popbias.training.restarts import best_of, restart_seeds

az = load_arviz()
pytestmark = [pytest.mark.usefixtures("short_training"), pytest.mark.slow]
TRAINING = {"epochs": 3, "batch_size": 150, "device": "cpu", "seed": 5}
EMBEDDING = {"name": "embedding", "dim": 4}


def study_of(guide="gamma", affinity=EMBEDDING, **changes):
    return pb.Study(model={"affinity": affinity}, guide={"name": guide}, training={**TRAINING, **changes})


@pytest.fixture(scope="module")
def events(make_frame):
    return pb.Interactions.from_frame(make_frame(), label="label", time="time")


@pytest.fixture(scope="module")
def fit(events, short_training):
    return pb.fit(events, study=study_of(), restarts=4, progress=False)


def test_seeds():
    seeds = restart_seeds(5, 4)
    assert seeds[0] == 5
    assert len(set(seeds)) == 4
    assert restart_seeds(5, 2) == seeds[:2]


@pytest.mark.parametrize("validation", [0.0, 0.1])
def test_the_best_is_returned_and_the_others_are_kept(events, validation, monkeypatch):
    trained = []

    def keep(pair, **others):
        trained.append((pair, train(pair, **others)))
        return trained[-1][1]

    monkeypatch.setattr(restarts, "train", keep)
    fit = pb.fit(events, study=study_of(validation=validation), restarts=4, progress=False)
    by = "validation_log_score" if validation else "elbo"
    pairs, results = zip(*trained, strict=True)
    histories = [result.history for result in results]
    assert [pair.study.training.seed for pair in pairs] == restart_seeds(5, 4)
    best = int(np.argmax([history[by].iloc[-1] for history in histories]))
    assert fit.guide is pairs[best].guide
    assert fit.history is histories[best]
    assert [chain.guide for chain in fit.others] == [pair.guide for pair in pairs if pair.guide is not fit.guide]
    assert len({history["elbo"].iloc[-1] for history in histories}) == 4
    assert fit.study.training.seed == 5


def test_restarts_hold_out_the_same_rows(events, monkeypatch):
    held_out = []

    def keep(pair, **others):
        held_out.append(pair.held_out.whole())
        return train(pair, **others)

    monkeypatch.setattr(restarts, "train", keep)
    fit = pb.fit(events, study=study_of(), restarts=3, progress=False)
    for other in held_out[1:]:
        assert torch.equal(other.user, held_out[0].user)
        assert torch.equal(other.item, held_out[0].item)
    rows = pb.pair(events, study=fit.study).held_out.whole()
    assert torch.equal(rows.user, held_out[0].user)


def test_one_restart_is_the_fit_as_it_was(events):
    one, plain = (pb.fit(events, study=study_of(), progress=False, **more) for more in ({"restarts": 1}, {}))
    pd.testing.assert_frame_equal(one.popularity(), plain.popularity())
    assert one.others == ()


def test_progress_names_the_restart(events, caplog):
    with caplog.at_level("INFO", logger="pyro_popbias"):
        pb.fit(events, study=study_of(), restarts=2)
    lines = [record.getMessage() for record in caplog.records]
    for number in (1, 2):
        assert any(line.startswith(f"restart {number} of 2, phase 2, epoch ") for line in lines)


def test_best_of():
    def history(**last):
        return pd.DataFrame([{"elbo": 0.0, "validation_log_score": 0.0}, last])

    assert best_of([history(elbo=-9.0, validation_log_score=-0.5), history(elbo=-1.0, validation_log_score=-0.6)]) == 0
    nan = {"validation_log_score": np.nan}
    assert best_of([history(elbo=-9.0, **nan), history(elbo=-1.0, **nan)]) == 1
    points = [history(elbo=np.nan, log_joint=value, **nan) for value in (-3.0, -2.0, -4.0)]
    assert best_of(points) == 1


# log-likelihoods are compared with themselves, and no LOO is made of them
@pytest.mark.filterwarnings("ignore:PB-D361:pyro_popbias.errors.DataWarning")
def test_chains_are_independent_draws_of_each_fit(fit, monkeypatch):
    for pair in fit.chains:  # draws are compared with q, in which the intercept is known
        monkeypatch.setitem(pair.guide.intercept._buffers, "variance", torch.zeros((), dtype=torch.float64))
    data = fit.to_arviz(draws=400, groups=("posterior", "prior", "log_likelihood", "posterior_predictive"))
    for group in ("posterior", "prior", "log_likelihood", "posterior_predictive"):
        assert data[group].sizes["chain"] == 4
    popularity = data["posterior"]["popularity"].values
    for chain, pair in enumerate(fit.chains):
        distribution = pair.guide.popularity.posterior(torch.arange(15))
        gap = np.abs(popularity[chain].mean(0) - distribution.mean.detach().numpy())
        assert (gap < 4.5 * distribution.stddev.detach().numpy() / np.sqrt(400)).all()
    assert len(np.unique(popularity)) == popularity.size
    labels = data["posterior_predictive"]["label"].values
    assert not np.array_equal(labels[0], labels[1])
    alone = fit.to_arviz(draws=400, items=["i2"], groups=("posterior",))["posterior"]["popularity"]
    assert alone.equals(data["posterior"]["popularity"].sel(item=["i2"]))


def test_chains_count_in_the_size(fit):
    message = r"PB-C088: 1000000000 draws of 15 cells in 4 chains take 894.1 GiB"
    with pytest.raises(pb.ConfigError, match=message):
        fit.to_arviz(draws=10**9)


def test_r_hat_compares_fits_and_one_fit_has_none(fit, events):
    summary = az.summary(fit.to_arviz(draws=200))
    assert np.isfinite(summary["r_hat"].astype(float)).all()
    apart = az.rhat(fit.to_arviz(draws=200)["posterior"])["popularity"].values
    shifted = fit.to_arviz(draws=200)["posterior"]["popularity"]
    shifted[{"chain": 1}] += 5 * shifted.std()
    assert (az.rhat(shifted.to_dataset())["popularity"].values > apart).all()
    one = az.summary(pb.fit(events, study=study_of(), progress=False).to_arviz(draws=200))
    assert one["r_hat"].astype(float).isna().all()


# log-likelihoods are compared with themselves, and no LOO is made of them
@pytest.mark.filterwarnings("ignore:PB-D361:pyro_popbias.errors.DataWarning")
@pytest.mark.parametrize("guide", list(pb.GUIDES))
def test_saved_and_loaded(guide, make_frame, model_for, tmp_path):
    events = pb.Interactions.from_frame(make_frame(), label="label")
    study = pb.Study(model={**model_for(guide), "affinity": EMBEDDING}, guide={"name": guide}, training=TRAINING)
    fit = pb.fit(events, study=study, restarts=2, progress=False)
    fit.save(tmp_path / "run")
    loaded = pb.load(tmp_path / "run")
    groups = ("posterior", "prior", "posterior_predictive", "log_likelihood")
    before, after = fit.to_arviz(draws=7, groups=groups), loaded.to_arviz(draws=7, groups=groups)
    for group in groups:
        assert before[group].sizes["chain"] == 2
        assert after[group].equals(before[group])
    assert "Best of 2 restarts by its held-out log-score" in (tmp_path / "run" / "card.md").read_text()
    assert "chains.safetensors" in json.loads((tmp_path / "run" / "manifest.json").read_text())["sha256"]


def test_one_fit_has_no_file_of_chains(events, tmp_path):
    pb.fit(events, study=study_of(), progress=False).save(tmp_path / "run")
    assert not (tmp_path / "run" / "chains.safetensors").exists()
    assert "restarts" not in (tmp_path / "run" / "card.md").read_text()


def test_given_scores_come_back(make_frame, tmp_path):
    frame = make_frame().assign(score=lambda rows: np.sin(np.arange(len(rows))))
    events = pb.Interactions.from_frame(frame, label="label")
    fit = pb.fit(events, study=study_of(affinity={"name": "fixed", "score": "score"}), progress=False)
    fit.save(tmp_path / "run")
    loaded = pb.load(tmp_path / "run")
    assert loaded.events.columns["score"].tolist() == frame["score"].tolist()
    before, after = (each.to_arviz(draws=5, groups=("log_likelihood",))["log_likelihood"] for each in (fit, loaded))
    assert after.equals(before)
    loaded.save(tmp_path / "again")
    assert pb.load(tmp_path / "again").events.columns.equals(loaded.events.columns)
