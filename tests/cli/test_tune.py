"""Searching a space of studies: by what judges, resumable, without a test set."""

import builtins
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from typer.testing import CliRunner

import pyro_popbias as pb
from pyro_popbias.cli import fit_and_compare as running
from pyro_popbias.cli import tune
from pyro_popbias.cli.app import app
from pyro_popbias.cli.tune import judged, read_space, run_tuning
from pyro_popbias.errors import CorruptCheckpointError, DataError, RunFolderError, RunLockedError

SPACE = """
"model.affinity.dim" = [1, 4]
[training]
learning_rate = { low = 0.001, high = 0.1, log = true }
epochs = { low = 1, high = 2 }
"""


@pytest.fixture
def files(tmp_path):
    frame = pb.simulate(users=40, items=30, interactions=1_200, seed=0).frame
    frame.to_csv(tmp_path / "events.csv", index=False)
    study = pb.Study(
        data={"path": str(tmp_path / "events.csv"), "user": "user", "item": "item", "label": "label"},
        model={"affinity": {"name": "embedding", "posterior": "point", "dim": 2}},
        training={
            "phase_two": 0,
            "batch_size": 256,
            "validation": {"split": "item-uniform", "metric": "ndcg@5"},
            "device": "cpu",
        },
    )
    (tmp_path / "study.toml").write_text(study.to_toml())
    (tmp_path / "space.toml").write_text(SPACE)
    return tmp_path


def search(files, trials, out="search"):
    return list(run_tuning(files / "study.toml", files / "space.toml", files / out, trials=trials))


def test_the_best_setting_is_written(files):
    lines = search(files, 4)
    table = pd.read_csv(files / "search" / "trials.csv")
    assert len(table) == 4
    assert table["value"].is_monotonic_decreasing
    best = pb.Study.from_toml(files / "search" / "best.toml")
    assert best.model.affinity.dim == table.loc[0, "model.affinity.dim"]
    assert best.training.learning_rate == pytest.approx(table.loc[0, "training.learning_rate"])
    # the value is that of the study written, fitted again
    again = pb.fit(pb.read_interactions(files / "events.csv", label="label"), study=best, progress=False)
    assert judged(again) == (pytest.approx(table.loc[0, "value"]), table.loc[0, "epochs"])
    assert f"--set training.epochs={table.loc[0, 'epochs']}" in lines[-1]


def test_the_best_study_leaves_to_the_data_what_the_study_leaves_to_them(files):
    """Quality, exposure and the size of batches: with them in the file another study would be trained than was judged."""
    shown = pb.simulate(users=40, items=20, interactions=800, quality=1.0, exposure=1.0, exposure_dispersion=5, seed=0)
    shown.frame.to_csv(files / "events.csv", index=False)
    columns = 'path = "events.csv"\nuser = "user"\nitem = "item"\nlabel = "label"'
    short = "epochs = 1\nphase_two = 0"
    (files / "study.toml").write_text(f"[data]\n{columns}\n[training]\n{short}")
    (files / "space.toml").write_text("[model.affinity]\ndim = [2]")
    search(files, 1)
    best = pb.Study.from_toml(files / "search" / "best.toml")
    fit = pb.fit(pb.read_interactions(files / "events.csv", label="label"), study=best, progress=False)
    assert fit.study.model.affinity.item_quality
    assert fit.study.training.batch_size < best.training.batch_size
    assert judged(fit)[0] == pytest.approx(pd.read_csv(files / "search" / "trials.csv").loc[0, "value"])


def test_a_search_goes_on_where_it_was(files, monkeypatch):
    calls = []
    whole = tune.fit_study

    def interrupted(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt("stopped")
        return whole(*arguments, **options)

    monkeypatch.setattr(tune, "fit_study", interrupted)
    with pytest.raises(KeyboardInterrupt, match="stopped"):
        search(files, 4)
    lines = search(files, 4)
    assert lines[0].startswith("2 of 4 settings tried")
    assert len(calls) == 5
    assert len(pd.read_csv(files / "search" / "trials.csv")) == 4
    search(files, 4)
    assert len(calls) == 5  # nothing is left to do


def finished(folder):
    log = folder / "trials.log"
    return log.read_text().count('"state":1') if log.exists() else 0


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(files):
    arguments = ["tune", "study.toml", "--space", "space.toml", "--out", "killed", "--trials", "200"]
    command = [sys.executable, "-c", "from pyro_popbias.cli.app import main; main()", *arguments]
    child = subprocess.Popen(command, cwd=files, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while finished(files / "killed") < 2 and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.kill()
    assert child.wait(timeout=60) == -signal.SIGKILL
    done = finished(files / "killed")
    lines = search(files, done + 2, out="killed")
    assert lines[0].startswith(f"{done} of {done + 2} settings tried")
    search(files, done + 2, out="whole")
    tables = [
        pd.read_csv(files / out / "trials.csv").drop(columns="setting").sort_values("value", ignore_index=True)
        for out in ("killed", "whole")
    ]
    pd.testing.assert_frame_equal(*tables)
    assert len(tables[0]) == len(tables[0].drop_duplicates()) == done + 2


def test_one_process_searches_in_a_folder(files):
    first = run_tuning(files / "study.toml", files / "space.toml", files / "search", trials=1)
    assert next(first).startswith("0 of 1 settings tried")
    with pytest.raises(RunLockedError, match=f"PB-R101: .*search is in use by process {os.getpid()} on "):
        search(files, 1, out="search")
    first.close()
    assert search(files, 1, out="search")[0].startswith("0 of 1 settings tried")


def test_data_that_cannot_be_read_leave_no_search(files):
    missing = files / "nothere.csv"
    with pytest.raises(RunFolderError, match=r"^PB-R022: cannot read .*nothere.csv"):
        list(run_tuning(files / "study.toml", files / "space.toml", files / "search", trials=1, data=missing))
    study = pb.Study.from_toml(files / "study.toml")
    (files / "study.toml").write_text(study.to_toml().replace('label = "label"', 'label = "labl"'))
    with pytest.raises(DataError, match=r"PB-D005.*labl"):
        search(files, 1)
    assert not (files / "search").exists()
    (files / "study.toml").write_text(study.to_toml())
    assert search(files, 1)[0].startswith("0 of 1")


def test_a_damaged_log_is_refused(files):
    search(files, 1)
    log = files / "search" / "trials.log"
    whole = log.read_text()
    for damaged in (f"{whole}garbage\n", f"{whole}[]\n", f'{whole}{{"op_code": 4}}\n'):
        log.write_text(damaged)
        with pytest.raises(CorruptCheckpointError, match=r"PB-R160: .*trials\.log is damaged"):
            search(files, 2)
    log.write_text(whole)
    assert search(files, 2)[0].startswith("1 of 2")


def test_errors_of_the_system_in_its_own_files_are_said_in_words(files):
    (files / "search" / "trials.log").mkdir(parents=True)
    with pytest.raises(RunFolderError, match=r"^PB-R100: cannot write to .*search: Is a directory"):
        search(files, 1)


def test_only_the_data_of_the_study_are_read(files, monkeypatch):
    read, whole = [], running.read_interactions
    monkeypatch.setattr(running, "read_interactions", lambda path, **keys: read.append(path) or whole(path, **keys))
    search(files, 2)
    assert read == [str(files / "events.csv")]


def test_a_setting_that_fails_is_left_out(files, monkeypatch):
    whole, calls = tune.fit_study, []

    def failing(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            raise pb.NumericalError("PB-N001: not finite")
        return whole(*arguments, **options)

    monkeypatch.setattr(tune, "fit_study", failing)
    lines = search(files, 2)
    assert any("PB-N001" in line for line in lines)
    assert pd.read_csv(files / "search" / "trials.csv")["value"].notna().sum() == 1
    monkeypatch.setattr(tune, "fit_study", lambda *_, **__: (_ for _ in ()).throw(pb.NumericalError("PB-N001: again")))
    with pytest.raises(pb.NumericalError, match="PB-N002: none of 2 settings could be fitted"):
        search(files, 2, out="other")


def test_learned_scales_run_all_their_epochs(files):
    study = pb.Study(training={"epochs": 3, "phase_two": 0, "batch_size": 256, "device": "cpu"})
    fit = pb.fit(pb.read_interactions(files / "events.csv", label="label"), study=study, progress=False)
    assert judged(fit) == (fit.history["validation_log_score"].iloc[-1], 3)


def test_another_search_needs_another_folder(files):
    search(files, 1)
    (files / "space.toml").write_text('"model.affinity.dim" = [3]')
    with pytest.raises(pb.ConfigError, match=r"PB-C378: .* holds a search of another study or space"):
        search(files, 1)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("", "PB-C375: .* declares 0 keys"),
        ("[training]\nepochs = 3", r"PB-C375: .* 1 of them without choices or a range \(training.epochs\)"),
        ("[training]\nepochs = { low = 3, high = 1 }", "PB-C375"),
        ("[training]\nepochs = []", "PB-C375"),
        ("[model]\nprior = [{ name = 'gamma' }]", "PB-C375"),
        (
            "[data]\npositive_if = ['>=3', '>=4']",
            "PB-C375: .* varies data.positive_if, but all settings are judged on one log",
        ),
        ("= 3", "PB-C089: .* is not valid TOML"),
        ("[training]\nepoch = [3]", "PB-C077: .*epoch"),
    ],
)
def test_spaces_that_cannot_be_searched(files, space, message):
    (files / "space.toml").write_text(space)
    with pytest.raises(pb.ConfigError, match=message):
        search(files, 1)
    with pytest.raises(pb.RunFolderError, match="PB-R022"):
        read_space(files / "nothing.toml")


def test_what_cannot_judge_is_refused(files, monkeypatch):
    study = (files / "study.toml").read_text()
    (files / "study.toml").write_text(pb.Study.from_bytes(study.encode(), files, ["training.validation=0.0"]).to_toml())
    with pytest.raises(pb.ConfigError, match="PB-C376"):
        search(files, 1)
    imported = builtins.__import__

    def without_optuna(name, *arguments):
        if name == "optuna":
            raise ImportError(name)
        return imported(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_optuna)
    with pytest.raises(pb.ConfigError, match="PB-C377: popbias tune needs optuna"):
        search(files, 1)


def test_the_command(files):
    done = CliRunner().invoke(
        app,
        [
            "tune",
            str(files / "study.toml"),
            "--space",
            str(files / "space.toml"),
            "--out",
            str(files / "s"),
            "--trials",
            "1",
        ],
    )
    assert done.exit_code == 0, done.output
    assert "judged by held-out ndcg@5" in done.output
    assert (files / "s" / "best.toml").exists()


def test_a_torn_line_of_the_log_is_cut_off(tmp_path):
    log = tmp_path / "trials.log"
    for content, left in ((b'{"a": 1}\n{"b', b'{"a": 1}\n'), (b'{"a', b""), (b'{"a": 1}\n', b'{"a": 1}\n')):
        log.write_bytes(content)
        tune._drop_torn_line(log)
        assert log.read_bytes() == left
    tune._drop_torn_line(tmp_path / "missing.log")
