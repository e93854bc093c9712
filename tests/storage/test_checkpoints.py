import json
import os
import shutil

import pytest

import pyro_popbias as pb
from pyro_popbias.assembly.pair import pair
from pyro_popbias.cli.fit_and_compare import run_fit
from pyro_popbias.data.atomic_files import TEMPORARY, remove_temporaries
from pyro_popbias.errors import (
    CheckpointError,
    CorruptCheckpointError,
    DataWarning,
    NumericalError,
    RunFolderError,
    RunLockedError,
)
from pyro_popbias.storage.checkpoints import KEPT, Checkpoints
from pyro_popbias.storage.folder_state import remove_leftovers
from pyro_popbias.storage.identity import identity
from pyro_popbias.storage.lock import locked
from pyro_popbias.training.loop import TrainingLoop, train

pytestmark = pytest.mark.usefixtures("short_training")
TRAINING = {"epochs": 3, "batch_size": 150, "device": "cpu"}
STUDY = pb.Study(model={"affinity": {"name": "embedding", "dim": 4}}, training=TRAINING)


@pytest.fixture(scope="module")
def trained(make_frame, short_training, tmp_path_factory):
    """A folder with checkpoints, and the snapshots they hold."""
    folder = tmp_path_factory.mktemp("trained")
    made = pair(pb.Interactions.from_frame(make_frame(), label="label"), study=STUDY)
    checkpoints = Checkpoints(folder, identity(made))
    result = train(made, save=checkpoints.save)
    return folder, made, len(result.history)


@pytest.fixture
def checkpoints(trained, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "run")
    return Checkpoints(folder, identity(trained[1])), folder / "checkpoints"


def test_the_last_two_checkpoints_are_kept(checkpoints, trained):
    made, folder = checkpoints
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 2 * KEPT
    assert {name.partition(".")[2] for name in names} == {"json", "safetensors"}
    assert len(made.latest()[0].history) == int(names[-1].partition(".")[0]) == trained[2]


@pytest.mark.parametrize("ending", ["json", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_checkpoint_falls_back_to_the_one_before(checkpoints, ending, share):
    made, folder = checkpoints
    epochs = len(made.latest()[0].history)
    old, new = sorted(folder.glob(f"*.{ending}"))
    new.write_bytes(new.read_bytes()[: int(share * new.stat().st_size)])
    with pytest.warns(DataWarning, match=rf"PB-R09[45]: .*; going on from epoch {epochs - 1}"):
        progress, tensors = made.latest()
    assert len(progress.history) == epochs - 1
    assert tensors
    old.write_bytes(old.read_bytes()[: int(share * old.stat().st_size)])
    with pytest.raises(CorruptCheckpointError, match=r"PB-R09[45]: .*; no earlier checkpoint is whole, fit without"):
        made.latest()


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_flipped_bit_of_a_checkpoint(checkpoints, ending):
    made, folder = checkpoints
    epochs = len(made.latest()[0].history)
    new = max(folder.glob(f"*.{ending}"))
    for share in (0.01, 0.3, 0.6, 0.99):
        whole = bytearray(new.read_bytes())
        broken = bytearray(whole)
        broken[int(share * len(broken))] ^= 1
        new.write_bytes(broken)
        with pytest.warns(DataWarning, match=rf"PB-R09[45]: .*; going on from epoch {epochs - 1}"):
            assert len(made.latest()[0].history) == epochs - 1
        new.write_bytes(whole)
    new.unlink()
    if ending == "json":  # without its description it is no checkpoint
        assert len(made.latest()[0].history) == epochs - 1
    else:
        with pytest.warns(DataWarning, match="PB-R094: .*; going on from"):
            assert len(made.latest()[0].history) == epochs - 1


def test_no_checkpoint(tmp_path):
    assert Checkpoints(tmp_path, {}).latest() is None


@pytest.mark.parametrize(
    ("other", "differing"),
    [
        ({"seed": 1}, "training.seed"),
        ({"epochs": 4}, "training.epochs"),
        ({"guide": "lognormal"}, "guide.name"),
        ({"dim": 5}, "model.affinity.dim"),
        ({"rate": 2.0}, "model.saturation.rate"),
        ({"rows": 399}, "data"),
        ({"rows": 399, "seed": 1, "phase_two": 3}, "training.phase_two, training.seed, data"),
    ],
)
def test_checkpoint_of_another_run(checkpoints, make_frame, other, differing):
    training = TRAINING | {key: other[key] for key in ("seed", "epochs", "phase_two") if key in other}
    study = pb.Study(
        model={
            "affinity": {"name": "embedding", "dim": other.get("dim", 4)},
            "saturation": {"name": "exponential", "rate": other.get("rate", 1.0)},
        },
        guide={"name": other.get("guide", "gamma")},
        training=training,
    )
    events = pb.Interactions.from_frame(make_frame().head(other.get("rows", 400)), label="label")
    folder = checkpoints[1].parent
    with pytest.raises(CheckpointError, match=rf"PB-R097: .* these differ: {differing}\. Resume with the same study"):
        Checkpoints(folder, identity(pair(events, study=study))).latest()


def test_locked_folder(tmp_path):
    with (
        locked(tmp_path / "run"),
        pytest.raises(RunLockedError, match=rf"PB-R101: .* is in use by process {os.getpid()} on "),
        locked(tmp_path / "run"),
    ):
        pytest.fail("locked twice")
    with locked(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").is_file()


@pytest.fixture
def study_file(make_frame, tmp_path):
    make_frame().to_csv(tmp_path / "rows.csv", index=False)
    training = "\n".join(f"{key} = {json.dumps(value)}" for key, value in TRAINING.items())
    (tmp_path / "study.toml").write_text(
        f'[data]\npath = "rows.csv"\nuser = "user"\nitem = "item"\nlabel = "label"\n'
        '[model]\naffinity = { name = "embedding", dim = 4 }\n'
        f"[training]\n{training}\n"
    )
    return tmp_path / "study.toml"


def test_resuming_removes_what_a_killed_process_left(study_file, tmp_path):
    list(run_fit(study_file, tmp_path / "run"))
    left = [tmp_path / "run" / f"{TEMPORARY}1-ab", tmp_path / "run" / "checkpoints" / f"{TEMPORARY}1-cd"]
    for path in left:
        path.write_text("half")
    list(run_fit(study_file, tmp_path / "run", resume=True))
    assert not any(path.exists() for path in left)


def test_run_fit_refuses_a_locked_folder(study_file, tmp_path, folder_hash):
    list(run_fit(study_file, tmp_path / "run"))
    with locked(tmp_path / "run"):
        before = folder_hash(tmp_path / "run")
        with pytest.raises(RunLockedError, match=r"PB-R101: .* is in use by process"):
            list(run_fit(study_file, tmp_path / "run", resume=True))
        with pytest.raises(RunFolderError, match=r"PB-R101: "):
            list(run_fit(study_file, tmp_path / "run"))
        assert folder_hash(tmp_path / "run") == before


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for folder in (tmp_path, tmp_path / "checkpoints"):
        (folder / f"{TEMPORARY}1-ab").write_text("half")
        (folder / "kept.json").write_text("{}")
    remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["checkpoints", "kept.json", "kept.json"]


def test_full_disk_while_training_leaves_a_run_to_resume(study_file, tmp_path, monkeypatch, full_disk):
    with monkeypatch.context() as patch:
        full_disk(patch, 4 * 2 + 1)  # two fsyncs a file, two files a checkpoint
        with pytest.raises(RunFolderError, match=r"PB-R100: cannot write .*checkpoints"):
            list(run_fit(study_file, tmp_path / "run"))
    assert not list((tmp_path / "run").rglob(f"{TEMPORARY}*"))
    with pytest.raises(RunFolderError, match=r"PB-R101: .* exists and is not empty"):
        list(run_fit(study_file, tmp_path / "run"))
    list(run_fit(study_file, tmp_path / "run", resume=True))
    list(run_fit(study_file, tmp_path / "whole"))
    one, other = ((tmp_path / name / "parameters.safetensors").read_bytes() for name in ("run", "whole"))
    assert one == other


def test_a_fit_that_failed_before_its_first_checkpoint_can_be_run_again(study_file, tmp_path, monkeypatch):
    def fail(self):
        raise NumericalError("PB-N001: broken")

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_fit_epoch", fail)
        with pytest.raises(NumericalError, match="PB-N001: broken"):
            list(run_fit(study_file, tmp_path / "run"))
    list(run_fit(study_file, tmp_path / "run"))
    pb.load(tmp_path / "run")


def test_of_two_fits_to_one_folder_the_second_does_not_overwrite(study_file, tmp_path, folder_hash):
    slow = run_fit(study_file, tmp_path / "run", overrides=["training.seed=1"])
    next(slow)  # has seen no folder, and reads its data
    list(run_fit(study_file, tmp_path / "run"))
    before = folder_hash(tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"PB-R101: .* exists and is not empty"):
        list(slow)
    assert folder_hash(tmp_path / "run") == before


def test_of_a_start_that_left_no_checkpoint_nothing_is_kept(tmp_path):
    for name in ("run.log", "checkpoints/000001.safetensors", "checkpoints/restart-2/000001.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("left")
    remove_leftovers(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_of_a_start_with_a_checkpoint_that_is_kept(tmp_path):
    kept = ("run.log", "checkpoints/000001.safetensors", "checkpoints/000001.json")
    for name in (*kept, f"checkpoints/{TEMPORARY}1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("left")
    remove_leftovers(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
