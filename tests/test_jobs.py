"""Fits and comparisons side by side: equal to those one after another, resumed, and refused in words."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.cli.fit_and_compare import run_comparison, run_fit
from pyro_popbias.storage.packed import Packed
from pyro_popbias.storage.trainings import Training
from pyro_popbias.training import restart_seeds

STUDY = """\
[data]
path = "rows.csv"
user = "user"
item = "item"
label = "label"
[model]
affinity = { name = "embedding", dim = 2 }
[training]
epochs = 2
batch_size = 200
phase_two = 1
device = "cpu"
"""


@pytest.fixture
def study(tmp_path, frame):
    frame.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path / "study.toml"


def assert_equal(one, other):
    """Assert that two fits are the same bit for bit, but for the time they took."""
    assert one.study == other.study
    pd.testing.assert_frame_equal(
        one.history.drop(columns="seconds"), other.history.drop(columns="seconds"), check_exact=True
    )
    for mine, theirs in zip(one.chains, other.chains, strict=True):
        for part in ("model", "guide", "iterates"):
            state, wanted = (getattr(chain, part).state_dict() for chain in (mine, theirs))
            assert state.keys() == wanted.keys()
            for name, value in state.items():
                assert value.equal(wanted[name]), name


@pytest.mark.slow
def test_restarts_side_by_side_equal_serial_ones(events, caplog):
    study = pb.Study.model_validate(
        {
            "schema": 1,
            "model": {"affinity": {"name": "embedding", "dim": 2}},
            "training": {"epochs": 2, "batch_size": 200, "phase_two": 1, "device": "cpu"},
        }
    )
    serial = pb.fit(events, study=study, restarts=2, progress=False)
    with caplog.at_level("INFO", logger="pyro_popbias"):
        beside = pb.fit(events, study=study, restarts=2, jobs=2)
    assert_equal(beside, serial)
    assert_equal(pb.fit(events, study=study, restarts=2, jobs=1, progress=False), serial)
    assert beside.events is events
    first = Training(study, restarts=2).run(events, progress=False)  # restarts count from 1
    assert first.study.training.seed == restart_seeds(study.training.seed, 2)[0]
    lines = [record.getMessage() for record in caplog.records]
    for number in (1, 2):
        assert any(line.startswith(f"restart {number} of 2, phase ") for line in lines)
    pd.testing.assert_frame_equal(beside.predict(pairs(events)), serial.predict(pairs(events)), check_exact=True)


def pairs(events):
    return pd.DataFrame({"user": events.users[events.user[:20]], "item": events.items[events.item[:20]]})


@pytest.mark.slow
@pytest.mark.parametrize("guide", list(pb.GUIDES))
def test_packed_and_unpacked(guide, make_frame, model_for, phase_two_as):
    events = pb.Interactions.from_frame(make_frame(), label="label")
    model = {**model_for(guide), "affinity": {"name": "embedding", "dim": 2}}
    study = pb.Study(
        model=model, guide={"name": guide}, training={"epochs": 1, "batch_size": 200, "phase_two": 1, "device": "cpu"}
    )
    fit = pb.fit(events, study=study, restarts=2, progress=False)
    found = Packed.of(fit).unpacked(events.catalogue, events)
    assert_equal(found, fit)
    pd.testing.assert_frame_equal(found.popularity(), fit.popularity(), check_exact=True)


@pytest.mark.slow
def test_a_comparison_side_by_side_equals_a_serial_one(study, tmp_path, make_frame):
    make_frame(seed=1).to_csv(tmp_path / "test.csv", index=False)
    one, other = (
        run_comparison([study], guides=["gamma", "lognormal"], test=tmp_path / "test.csv", jobs=jobs)
        for jobs in (None, 2)
    )
    assert one["ndcg@20"].notna().all()
    pd.testing.assert_frame_equal(other.drop(columns="seconds"), one.drop(columns="seconds"), check_exact=True)


@pytest.mark.nightly
@pytest.mark.slow
def test_what_cannot_be_judged_is_noted_side_by_side_too(study, tmp_path, make_frame):
    make_frame(seed=1).query("label == 1").drop(columns="label").to_csv(tmp_path / "rows.csv", index=False)
    study.write_text(STUDY.replace('label = "label"\n', ""))
    one, other = (run_comparison([study], guides=["gamma", "lognormal"], jobs=jobs) for jobs in (None, 2))
    pd.testing.assert_frame_equal(other.drop(columns="seconds"), one.drop(columns="seconds"), check_exact=True)


def stop_when(folder, found, name):
    """Fit in another process, and send a signal to it, or to one of its workers, once a checkpoint is there."""
    command = [Path(sys.executable).with_name("popbias"), "fit", "study.toml", "--out", folder, "--restarts", "2"]
    process = subprocess.Popen(
        [*command, "--jobs", "2", "--set", "training.epochs=40"],
        cwd=found,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not list((found / folder / "checkpoints").rglob("*.json")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [int(pid) for pid in children if b"--multiprocessing-fork" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(process.pid if name == "SIGINT" else workers[0], getattr(signal, name))
    _, errors = process.communicate(timeout=100)
    return process.returncode, errors


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("SIGINT", 130, "interrupted; continue with --resume"),
        ("SIGKILL", 1, "error: PB-C481: the worker of restart"),
    ],
)
def test_a_stopped_fit_is_resumed(study, tmp_path, name, code, words):
    returned, errors = stop_when("stopped", tmp_path, name)
    assert (returned, words in errors) == (code, True), errors
    overrides = ["training.epochs=40"]
    list(run_fit(study, tmp_path / "stopped", restarts=2, jobs=2, resume=True, overrides=overrides))
    list(run_fit(study, tmp_path / "whole", restarts=2, jobs=1, overrides=overrides))
    for file in ("parameters.safetensors", "chains.safetensors", "popularity.csv", "study.toml"):
        assert (tmp_path / "stopped" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_study_that_cannot_be_fitted_leaves_nothing(study, tmp_path):
    rows = pd.read_csv(tmp_path / "rows.csv").assign(label=1)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(pb.DataError, match="PB-D"):
        list(run_fit(study, tmp_path / "run", restarts=2, jobs=2))
    assert not (tmp_path / "run").exists()


def test_jobs_are_refused_before_the_data_are_read(study, tmp_path):
    (tmp_path / "rows.csv").unlink()
    for call in (
        lambda: list(run_fit(study, tmp_path / "run", restarts=2, jobs=0)),
        lambda: run_comparison([study], guides=["gamma"], jobs=0),
    ):
        with pytest.raises(pb.ConfigError, match="PB-C480: jobs must be an integer >= 1, not 0"):
            call()
