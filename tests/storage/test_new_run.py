"""Run folders while they are fitted: stopped at any file operation, with restarts, and resumed."""

import os
from pathlib import Path

import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.cli.fit_and_compare import run_comparison, run_fit
from pyro_popbias.errors import CheckpointError, RunFolderError
from pyro_popbias.storage.folder_state import Holds, held_by
from pyro_popbias.training.loop import TrainingLoop

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
CALLS = ((Path, "open"), (Path, "mkdir"), (Path, "replace"), (Path, "unlink"), (os, "fsync"))


class Killed(BaseException):
    """What stops a fit; nothing is cleaned up after it."""


@pytest.fixture
def study(tmp_path, frame):
    frame.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path / "study.toml"


def fit(study, folder, **options):
    return list(run_fit(study, folder, **options))


def stop_at(patch, number):
    """Let `number` file operations succeed, then none: a dead process removes no temporary file either."""
    left = iter(range(number))

    def counted(right):
        def call(*args, **kwargs):
            if next(left, None) is None:
                raise Killed("stopped")
            return right(*args, **kwargs)

        return call

    for owner, name in CALLS:
        patch.setattr(owner, name, counted(getattr(owner, name)))


def parameters(folder):
    return (folder / "parameters.safetensors").read_bytes()


@pytest.mark.nightly
@pytest.mark.slow
def test_stopped_at_every_file_operation_before_the_first_checkpoint(study, tmp_path, monkeypatch):
    fit(study, tmp_path / "whole")
    seen = set()
    for number in range(2, 60):  # the first two read the study and the rows
        folders = [tmp_path / f"{kind}{number}" for kind in ("new", "resumed")]
        for folder in folders:
            with monkeypatch.context() as patch:
                stop_at(patch, number)
                with pytest.raises(Killed, match="stopped"):
                    fit(study, folder)
        holds = held_by(folders[0])
        seen.add(holds)
        if holds is Holds.UNFINISHED:
            break
        assert holds in (Holds.NOTHING, Holds.LEFTOVERS), number
        fit(study, folders[0])
        if holds is Holds.LEFTOVERS:
            lines = fit(study, folders[1], resume=True)
            assert lines[0] == f"{folders[1]} holds no checkpoint yet: starting from the beginning"
            assert parameters(folders[1]) == parameters(tmp_path / "whole")
        assert parameters(folders[0]) == parameters(tmp_path / "whole")
    assert seen == {Holds.NOTHING, Holds.LEFTOVERS, Holds.UNFINISHED}


def test_what_a_new_fit_refuses(study, tmp_path):
    fit(study, tmp_path / "run")
    finished = (
        r"PB-R101: .*run exists and is not empty: it holds a finished run; continue it with --resume, or choose another"
    )
    with pytest.raises(RunFolderError, match=finished):
        fit(study, tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    with pytest.raises(
        RunFolderError, match=r"PB-R101: .* holds the checkpoints of an unfinished run; continue it with"
    ):
        fit(study, tmp_path / "run")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("")
    with pytest.raises(
        RunFolderError, match=r"PB-R101: .*notes exists and is not empty; choose another name or remove it"
    ):
        fit(study, tmp_path / "notes")
    assert (tmp_path / "notes" / "mine.txt").exists()


def test_what_there_is_nothing_to_resume_of(study, tmp_path):
    with pytest.raises(
        RunFolderError, match=r"PB-R103: .*typo does not exist, so there is nothing to resume; fit without"
    ):
        fit(study, tmp_path / "typo", resume=True)
    fit(study, tmp_path / "run")
    pb.load(tmp_path / "run").save(tmp_path / "saved")
    with pytest.raises(RunFolderError, match=r"PB-R103: .*saved holds a finished run and no checkpoint, so there is"):
        fit(study, tmp_path / "saved", resume=True)


@pytest.mark.parametrize(
    ("options", "differing"),
    [
        ({"overrides": ["data.negatives=2"]}, r"data\.negatives"),
        ({"overrides": ["training.phase_two=2"]}, r"training\.phase_two"),
        ({"restarts": 2}, "restarts"),
    ],
)
def test_resume_of_another_fit_is_refused(study, tmp_path, frame, folder_hash, options, differing):
    frame.query("label == 1").drop(columns="label").to_csv(tmp_path / "rows.csv", index=False)
    study.write_text(STUDY.replace('label = "label"\n', ""))
    fit(study, tmp_path / "run")
    before = folder_hash(tmp_path / "run")
    with pytest.raises(CheckpointError, match=rf"PB-R097: .* these differ: {differing}\. Resume with the same study"):
        fit(study, tmp_path / "run", resume=True, **options)
    assert folder_hash(tmp_path / "run") == before


@pytest.mark.slow
def test_restarts_equal_those_of_python_and_are_resumed(study, tmp_path, frame, monkeypatch):
    lines = fit(study, tmp_path / "whole", restarts=3)
    assert "the best of 3 restarts:" in lines
    whole = pb.load(tmp_path / "whole")
    events = pb.Interactions.from_frame(frame, label="label")
    in_python = pb.fit(events, study=whole.study, restarts=3, progress=False)
    assert len(whole.others) == 2
    for one, other in zip(whole.chains, in_python.chains, strict=True):
        for name, value in one.guide.state_dict().items():
            assert value.equal(other.guide.state_dict()[name]), name
    pd.testing.assert_frame_equal(whole.popularity(), in_python.popularity(), check_exact=True)

    right = TrainingLoop._finish_epoch

    def stop(self):
        right(self)
        if self._pair.study.training.seed != 0:  # the first restart is done, the second has a checkpoint
            raise Killed("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_finish_epoch", stop)
        with pytest.raises(Killed, match="stopped"):
            fit(study, tmp_path / "stopped", restarts=3)
    folders = [path.name for path in (tmp_path / "stopped" / "checkpoints").iterdir() if path.is_dir()]
    assert folders == ["restart-2"]
    fit(study, tmp_path / "stopped", restarts=3, resume=True)
    for name in ("parameters.safetensors", "chains.safetensors"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_progress_of_a_comparison_names_the_guide(study, caplog):
    with caplog.at_level("INFO", logger="pyro_popbias"):
        run_comparison([study], guides=["gamma", "lognormal"])
    lines = [record.getMessage() for record in caplog.records]
    for guide in ("gamma", "lognormal"):
        assert any(line.startswith(f"guide {guide}, phase 2, epoch ") for line in lines)
