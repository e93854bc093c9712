"""Sources of a prior: how a study declares them, what they give, and what becomes of them in fits and run folders."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Gamma, constraints, kl_divergence

import pyro_popbias as pb
from pyro_popbias.assembly import count_statistics
from pyro_popbias.assembly.prior_sources import SOURCES
from pyro_popbias.cli.fit_and_compare import run_fit
from pyro_popbias.errors import CheckpointError, ConfigError, DataError, DataWarning, IncompatibleError
from pyro_popbias.models import PRIORS
from pyro_popbias.storage.identity import identity
from pyro_popbias.training.loop import train

pytestmark = pytest.mark.usefixtures("short_training")
COUNTS = pd.DataFrame({"item": [f"i{code}" for code in range(14)] + ["elsewhere"], "count": [*range(1, 15), 1000]})
ALLOWED = [
    (source, guide, prior)
    for source in SOURCES
    for guide in pb.GUIDES
    for prior in PRIORS
    if pb.GUIDES[guide].fits(PRIORS[prior].support)
    and not (source == "population" and prior in ("exponential", "normal"))
]
# every guide and every prior with every source; guides with priors are test_compatibility's
CASES = sorted(
    {*{(source, guide): (source, guide, prior) for source, guide, prior in reversed(ALLOWED)}.values()}
    | {*{(source, prior): (source, guide, prior) for source, guide, prior in ALLOWED}.values()}
)


def study_of(prior, guide="gamma", **model):
    if prior["source"] == "counts":
        prior = {"counts": COUNTS, **prior}
    if prior.get("name") == "normal":
        model, guide = {"name": "additive", **model}, "normal"
    return pb.Study(
        model={"prior": prior, "affinity": {"name": "embedding", "dim": 2}, **model},
        guide={"name": guide},
        training={"epochs": 2, "batch_size": 150, "device": "cpu"},
    )


@pytest.fixture
def implicit(frame):
    """A log of positives only, in two periods."""
    rows = frame.drop(columns="label")
    return pb.Interactions.from_frame(rows[frame["label"] == 1], time="time", periods=2)


@pytest.fixture
def labelled(events):
    return events.with_periods(2)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"source": "counts"}, r"source = 'counts' needs counts, a file of other rows .* cover 84 %"),
        ({"source": "learned", "counts": "a.csv"}, "counts goes with source = 'counts', 'share', 'log-share'"),
        ({"source": "population", "counts": "a.csv"}, "counts goes with source = 'counts', 'share', 'log-share'"),
        ({"source": "share", "counts": 3}, r"prior\.counts = 3: counts is the path of a file or, in Python, a table"),
        ({"source": "share", "drift": 0.1}, "drift goes with source = 'counts'"),
        ({"source": "counts", "counts": "a.csv", "drift": -0.1}, r"prior\.drift = -0\.1: .*greater than or equal to 0"),
        ({"source": "counts", "counts": "a.csv", "drift": math.nan}, r"prior\.drift = nan"),
        ({"source": "counts", "counts": "a.csv", "concentration": 2.0}, "concentration goes with source = 'fixed'"),
        ({"source": "count"}, r"prior\.source = 'count': it should be 'learned', 'population', 'counts'"),
        ({"source": "population", "name": "exponential"}, r"Exponential\(1\) and has no concentration that source = "),
        ({"source": "population", "name": "normal"}, r"Normal\(0, 1\) .*use gamma, lognormal or weibull"),
    ],
)
def test_sections(prior, message):
    with pytest.raises(ConfigError, match=rf"PB-C083: \[model\] (prior.*)?{message}") as caught:
        pb.Study(model={"prior": prior})
    assert caught.value.exit_code == 2


def test_drift_has_a_default_with_counts_only():
    assert pb.Study(model={"prior": {"source": "counts", "counts": "a.csv"}}).model.prior.drift == 0.25
    assert pb.Study(model={"prior": {"source": "counts", "counts": Path("a.csv"), "drift": 0}}).model.prior.drift == 0
    assert pb.Study().model.prior.drift is None


@pytest.mark.parametrize("prior", [{"source": "counts", "drift": 0.1}, {"source": "share"}, {"source": "log-share"}])
def test_toml_round_trip_and_relative_paths(tmp_path, prior):
    study = pb.Study(model={"prior": {"name": "weibull", "counts": "sub/a.csv", **prior}})
    (tmp_path / "study.toml").write_text(study.to_toml())
    read = pb.Study.from_toml(tmp_path / "study.toml")
    assert read.model.prior.counts == str(tmp_path / "sub" / "a.csv")
    assert read == study.resolve(tmp_path)


@pytest.mark.parametrize("name", ["gamma", "lognormal", "weibull"])
def test_population_is_one_distribution_by_the_training_positives(implicit, name):
    pair = pb.pair(implicit, study=study_of({"name": name, "source": "population"}))
    assert len(pair.rows) < len(implicit)
    positives = np.zeros(implicit.cells, dtype=int)
    np.add.at(positives, pair.whole().cell[pair.whole().cell_index].numpy()[pair.whole().label.numpy() == 1], 1)
    a = count_statistics.concentration(positives.reshape(-1, 2))
    distribution = pair.model.prior.population()
    assert (distribution.mean.item(), distribution.variance.item()) == (
        pytest.approx(1),
        pytest.approx(1 / a, rel=1e-6),
    )
    assert not list(pair.model.prior.parameters())


def test_population_is_refused_with_labels(labelled):
    message = r"PB-C090: .*'population' .* have labels of their own: .* off by a factor of two\. Use source = 'learned'"
    with pytest.raises(IncompatibleError, match=message):
        pb.pair(labelled, study=study_of({"source": "population"}))


@pytest.mark.parametrize("name", PRIORS)
def test_counts_give_each_item_its_distribution_in_every_period(labelled, name):
    prior = pb.pair(labelled, study=study_of({"name": name, "source": "counts", "drift": 0.5})).model.prior
    counts = COUNTS.set_index("item")["count"].reindex(labelled.items, fill_value=0).to_numpy()
    a = count_statistics.concentration(counts[:, None])
    distributions = count_statistics.item_distributions(counts.repeat(2), a, 0.5)
    assert kl_divergence(prior.all_distributions(), PRIORS[name].near(distributions)).abs().max() < 1e-12
    parent = PRIORS[name].population_like(Gamma(torch.tensor(a).double(), torch.tensor(a).double()))
    assert kl_divergence(prior.population(), parent).abs() < 1e-12
    if PRIORS[name].support is not constraints.real:
        assert prior.population().mean.item() == pytest.approx(1)


def test_shares_of_the_training_positives(labelled):
    study = study_of({"name": "lognormal", "source": "share"})
    message = r"PB-D124: .*'share' is nearly the same .* by a factor of 1\.18, .* 0\.0011 nats .*\(log-share: 0\.26\)"
    with pytest.warns(DataWarning, match=message):
        pair = pb.pair(labelled, study=study)
    batch = pair.whole()
    positives = np.bincount(batch.cell[batch.cell_index][batch.label == 1].numpy(), minlength=labelled.cells).reshape(
        -1, 2
    )
    share = positives / positives.sum(axis=0)
    distribution = pair.model.prior.all_distributions()
    np.testing.assert_allclose(distribution.loc, share.reshape(-1), rtol=1e-12)
    assert (distribution.scale == 1).all()
    population = pair.model.prior.population()
    means = np.exp(share + 0.5)
    variance = (np.exp(2 * share + 1) * (math.e - 1)).mean() + means.var()
    assert population.mean.item() == pytest.approx(means.mean(), rel=1e-9)
    assert population.variance.item() == pytest.approx(variance, rel=1e-9)


def test_log_shares_of_given_counts(labelled):
    prior = pb.pair(
        labelled, study=study_of({"name": "lognormal", "source": "log-share", "counts": COUNTS})
    ).model.prior
    counts = COUNTS.set_index("item")["count"].reindex(labelled.items, fill_value=0).to_numpy()
    np.testing.assert_allclose(
        prior.all_distributions().loc, np.log((counts + 0.5) / counts.mean()).repeat(2), rtol=1e-12
    )


def test_counts_of_the_data_are_refused(labelled, frame):
    study = study_of({"source": "counts", "counts": frame[["user", "item"]].head(40)})
    with pytest.raises(DataError, match=r"PB-D123: 40 of the 40 rows of counts are of a user and an item with a row"):
        pb.pair(labelled, study=study)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:PB-D124")
@pytest.mark.parametrize(("source", "guide", "prior"), CASES)
def test_every_guide_trains_under_every_source(implicit, source, guide, prior):
    pair = pb.pair(implicit, study=study_of({"name": prior, "source": source}, guide))
    start = {name: value.detach().clone() for name, value in pair.guide.popularity.named_parameters()}
    distribution = [buffer.clone() for buffer in pair.model.prior.buffers()]
    history = train(pair).history
    assert np.isfinite(history["log_joint" if guide == "point" else "expected_log_likelihood"].to_numpy()).all()
    for name, value in pair.guide.popularity.named_parameters():
        assert not torch.equal(value, start[name]), name
    assert all(torch.equal(one, two) for one, two in zip(distribution, pair.model.prior.buffers(), strict=True))


@pytest.fixture(params=["population", "counts", "share", "log-share"])
def sourced(request, implicit):
    study = study_of({"name": "lognormal", "source": request.param}, "lognormal")
    if request.param != "share":
        return pb.fit(implicit, study=study, progress=False)
    with pytest.warns(DataWarning, match="PB-D124"):
        return pb.fit(implicit, study=study, progress=False)


def test_run_folders(sourced, frame, tmp_path):
    sourced.save(tmp_path / "run")
    assert (tmp_path / "run" / "counts.parquet").exists() == (sourced.study.model.prior.source == "counts")
    loaded = pb.load(tmp_path / "run")
    for mode in ("population", "prior", "posterior"):
        one, other = (fit.predict(frame, popularity=mode) for fit in (loaded, sourced))
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    pd.testing.assert_frame_equal(loaded.popularity(), sourced.popularity(), check_exact=True)
    loaded.save(tmp_path / "again")
    for file in (tmp_path / "run").iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_run_is_opened_without_the_file_of_counts(labelled, frame, tmp_path, monkeypatch):
    path = tmp_path / "counts.csv"
    COUNTS.to_csv(path, index=False)
    fit = pb.fit(labelled, study=study_of({"source": "counts", "counts": str(path)}), progress=False)
    fit.save(tmp_path / "run")
    path.unlink()
    loaded = pb.load(tmp_path / "run")
    assert loaded.study == fit.study
    pd.testing.assert_frame_equal(loaded.predict(frame, "prior"), fit.predict(frame, "prior"), check_exact=True)
    # a file of that name in the working folder is no part of the run
    monkeypatch.chdir(tmp_path)
    same = study_of({"source": "counts", "counts": "counts.parquet"})
    COUNTS.to_parquet("counts.parquet")
    fit = pb.fit(labelled, study=same, progress=False)
    fit.save("other")
    Path("counts.parquet").unlink()
    assert pb.load("other").study == fit.study


def test_identity_sees_a_change_of_counts(labelled):
    one = identity(pb.pair(labelled, study=study_of({"source": "counts"})))
    changed = COUNTS.assign(count=COUNTS["count"] + 1)
    other = identity(pb.pair(labelled, study=study_of({"source": "counts", "counts": changed})))
    assert {name for name in one if one[name] != other[name]} == {"prior"}
    assert one == identity(pb.pair(labelled, study=study_of({"source": "counts", "counts": COUNTS.copy()})))


def test_a_study_file_names_its_counts(labelled, frame, tmp_path, monkeypatch):
    frame.to_csv(tmp_path / "rows.csv", index=False)
    COUNTS.to_csv(tmp_path / "counts.csv", index=False)
    (tmp_path / "study.toml").write_text(
        '[data]\npath = "rows.csv"\nuser = "user"\nitem = "item"\nlabel = "label"\n'
        '[model]\nprior = { source = "counts", counts = "counts.csv" }\naffinity = { name = "embedding", dim = 2 }\n'
        '[training]\nepochs = 2\nbatch_size = 150\ndevice = "cpu"\n'
    )
    monkeypatch.chdir(tmp_path)
    list(run_fit(Path("study.toml"), Path("run")))
    monkeypatch.chdir(tmp_path.parent)
    assert pb.load(tmp_path / "run").study.model.prior.counts == str(tmp_path / "counts.csv")
    list(run_fit(tmp_path / "study.toml", tmp_path / "run", resume=True))
    list(run_fit(tmp_path / "run" / "study.toml", tmp_path / "again"))
    one, other = (pb.load(tmp_path / name).popularity() for name in ("run", "again"))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    COUNTS.assign(count=5).to_csv(tmp_path / "counts.csv", index=False)
    with pytest.raises(CheckpointError, match=r"PB-R097: .*; these differ: prior\."):
        list(run_fit(tmp_path / "study.toml", tmp_path / "run", resume=True))


@pytest.mark.parametrize("guide", ["gamma", "point"])
def test_scores_under_an_items_own_distribution(labelled, frame, guide):
    # an item of the catalogue without rows
    events = replace(labelled, items=labelled.items.append(pd.Index(["silent"])))
    table = pd.concat([COUNTS, pd.DataFrame({"item": ["silent"], "count": [50]})])
    fit = pb.fit(events, study=study_of({"source": "counts", "counts": table}, guide), progress=False)
    pairs = pd.DataFrame({"user": "u1", "item": ["i1", "i2", "silent", "unheard of"]})
    score = {
        mode: fit.predict(pairs, popularity=mode, unseen="prior")["score"]
        for mode in ("population", "prior", "posterior", "none")
    }
    cell = torch.from_numpy(2 * fit.catalogue.items.get_indexer(pairs["item"][:3]) + 1)
    distribution = fit.model.prior.distribution(cell)
    population = fit.model.prior.population()
    # E[1 - e^-z] = 1 - (b / (b + 1))^a
    own, shared = (1 - (each.rate / (each.rate + 1)) ** each.concentration for each in (distribution, population))
    np.testing.assert_allclose(score["prior"][:3] / score["none"][:3], own, rtol=1e-9)
    for mode in ("prior", "posterior"):
        assert score[mode][3] == score["population"][3]  # unseen
    np.testing.assert_allclose(score["population"] / score["none"], shared, rtol=1e-9)
    assert score["posterior"][2] == score["prior"][2]  # silent
    assert (score["posterior"][:2] != score["prior"][:2]).all()


def test_recommendations_under_the_items_own_priors_are_its_scores_best_first(labelled, frame):
    fit = pb.fit(labelled, study=study_of({"source": "counts"}), progress=False)
    best = fit.recommend(["u1"], k=4, popularity="prior", exclude_seen=False)
    pairs = pd.DataFrame({"user": "u1", "item": fit.catalogue.items})
    score = fit.predict(pairs, popularity="prior").sort_values("score", ascending=False, ignore_index=True)
    assert best["item"].tolist() == score["item"][:4].tolist()
    assert best["item"].tolist() != fit.recommend(["u1"], k=4, exclude_seen=False)["item"].tolist()


@pytest.mark.slow
def test_own_counts_make_a_better_posterior_than_the_population_distribution():
    simulation = pb.simulate(affinity="fixed", users=100, items=200, interactions=3_000, seed=3)
    truth = simulation.truth["popularity"].set_index("item")["z"]
    random = np.random.default_rng(0)
    moved = 20 * truth * np.exp(random.normal(0, 0.25, len(truth)))
    counts = pd.DataFrame({"item": truth.index, "count": random.poisson(moved)})
    error, held = {}, {}
    for source in ("learned", "counts"):
        study = study_of(
            {"source": source, **({"counts": counts} if source == "counts" else {})},
            affinity={"name": "fixed", "score": "score"},
        )
        study = study.replace("training", epochs=15, validation=0.0)
        table = pb.fit(simulation.events, study=study, progress=False).popularity(0.9).set_index("item")
        true = truth[table.index]
        error[source] = np.log(table["mean"] / true).std()
        held[source] = ((table["lower"] <= true) & (true <= table["upper"])).mean()
    assert error["counts"] < 0.7 * error["learned"]
    assert held["counts"] == pytest.approx(0.9, abs=4 * math.sqrt(0.9 * 0.1 / len(truth)))
