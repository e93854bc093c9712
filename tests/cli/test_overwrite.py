"""`--overwrite`: a run is replaced whole once its successor is complete, and nothing that is not of a run is lost; `--plot`."""

import os
import shutil
from pathlib import Path

import pytest

import pyro_popbias as pb
from pyro_popbias.cli import fit_and_compare
from pyro_popbias.storage.lock import locked

pytestmark = pytest.mark.usefixtures("short_training")
GOLDEN = Path(__file__).parents[1] / "golden" / "schema-6"
FIT = [
    "fit",
    "study.toml",
    "--out",
    "run",
    "--overwrite",
    "--set",
    "training.epochs=1",
    "--set",
    "training.phase_two=0",
]


def test_a_fit_draws_popularity(popbias, folder):
    code, out, _ = popbias(*FIT, "--plot", "popularity.png")
    assert code == 0
    assert out.splitlines()[-1] == "popularity of items: popularity.png"
    assert (folder / "popularity.png").read_bytes().startswith(b"\x89PNG")
    code, _, error = popbias(*FIT[:2], "--out", "other", "--plot", "popularity.svg")
    assert (code, error.split(":")[1].strip()) == (2, "PB-C451")
    assert not (folder / "other").exists()


@pytest.fixture
def run(folder):
    return Path(shutil.copytree(GOLDEN, folder / "run"))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_run_is_replaced(popbias, folder, run):
    before = names(folder)
    (run / "report.html").write_text("of the old run")
    code, out, _ = popbias(*FIT)
    assert code == 0
    assert out.splitlines()[-1] == "run folder: run"
    assert len(pb.load("run").events) == 400
    assert not (run / "report.html").exists()
    assert names(folder) == before
    assert popbias("popularity", "run")[0] == 0


def test_without_a_run_it_is_a_fit_like_any(popbias, folder):
    assert popbias(*FIT)[0] == 0
    assert len(pb.load("run").events) == 400


@pytest.mark.parametrize("stranger", ["thesis.txt", "checkpoint.txt", "link", "none"])
def test_what_is_not_of_a_run_is_not_lost(popbias, folder, run, folder_hash, stranger):
    if stranger == "none":  # a folder with nothing that a run needs
        shutil.rmtree(run)
        run.mkdir()
        stranger = "report.html"
    (run / stranger).symlink_to(folder / "rows.csv") if stranger == "link" else (run / stranger).write_text("mine")
    before = folder_hash(folder)
    code, _, error = popbias(*FIT)
    assert (code, error.count("\n")) == (5, 1)
    assert "PB-R101: run exists, and --overwrite replaces run folders whole" in error
    assert f"it also holds files that are not part of a run (1: {stranger})" in error
    assert folder_hash(folder) == before


def test_a_failure_leaves_the_old_run(popbias, folder, run, folder_hash):
    before = folder_hash(run)
    for wrong, expected in ((["--set", "data.label=rated"], 3), (["--guide", "normal"], 2)):
        assert popbias(*FIT, *wrong)[0] == expected
        assert folder_hash(run) == before
        assert not (folder / "run.new").exists()


def test_a_fit_that_was_stopped_goes_on_beside_the_old_run(popbias, folder, run, folder_hash, monkeypatch):
    before = folder_hash(run)
    whole = fit_and_compare.NewRun.finish

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_and_compare.NewRun, "finish", stopped)
    code, _, error = popbias(*FIT)
    assert (code, error.splitlines()[-1]) == (130, "interrupted; continue with --resume --overwrite")
    assert folder_hash(run) == before
    assert popbias(*FIT)[0] == 5  # it would start anew
    monkeypatch.setattr(fit_and_compare.NewRun, "finish", whole)
    assert popbias(*FIT, "--resume")[0] == 0
    assert len(pb.load("run").events) == 400
    assert not (folder / "run.new").exists()


def test_a_run_that_is_being_fitted_is_not_replaced(popbias, folder, run):
    with locked(run):
        code, _, error = popbias(*FIT)
    assert code == 5
    assert f"PB-R101: run is in use by process {os.getpid()}" in error
    assert len(pb.load("run").events) == 120
    assert len(pb.load("run.new").events) == 400  # complete, and there to be taken


def test_update_does_not_replace_what_it_reads(popbias, folder, run, folder_hash):
    before = folder_hash(folder)
    code, _, error = popbias("update", "run", "--data", "rows.csv", "--out", "run", "--overwrite")
    assert code == 2
    assert "PB-C330: the output run would overwrite run, which this command reads" in error
    assert folder_hash(folder) == before


@pytest.mark.slow
def test_update_replaces_another_run(popbias, folder, run):
    shutil.copytree(run, folder / "next")
    assert popbias("update", "run", "--data", "rows.csv", "--out", "next")[0] == 5
    assert popbias("update", "run", "--data", "rows.csv", "--out", "next", "--overwrite")[0] == 0
    assert len(pb.load("next").events) == 400
