"""Run folders that somebody made who means harm, damaged ones, and ones whose writer was killed or ran out of space."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pyarrow import parquet

import pyro_popbias as pb
from pyro_popbias.data import atomic_files
from pyro_popbias.data.atomic_files import TEMPORARY, new_folder, sha256, write_atomically
from pyro_popbias.errors import CorruptCheckpointError, RunFolderError, UnsafeFileError
from pyro_popbias.storage.contents import LEAST, Contents
from pyro_popbias.storage.folder_state import remove_leftovers
from pyro_popbias.storage.new_run import NewRun
from pyro_popbias.storage.soundness import check_sizes

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
GOLDEN = ROOT / "tests" / "golden" / "schema-6"
sys.path.append(str(BENCHMARKS))

from faults.commands import STUDY  # noqa: E402
from faults.payloads import KINDS  # noqa: E402
from scoreboard.injected import disturbed, library  # noqa: E402


@pytest.fixture
def run(tmp_path):
    return shutil.copytree(GOLDEN, tmp_path / "run")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """What was wrong with how each kind of hostile folder was met, by kind."""
    out = tmp_path_factory.mktemp("hostile") / "found.json"
    command = [sys.executable, str(BENCHMARKS / "faults" / "hostile.py"), "1", str(out)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True)
    return json.loads(out.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_folder(hostile, kind):
    assert hostile[kind] == []


@pytest.mark.parametrize(
    ("kind", "error", "match"),
    [
        ("pickle in users.parquet", CorruptCheckpointError, "PB-R155: the files of .* are not those of one run"),
        ("guide lognormal in its place", CorruptCheckpointError, "PB-R15[56]: "),
        ("large parameters", CorruptCheckpointError, "PB-R156: .* parameters and popularity.csv are of different fits"),
        ("NaN in parameters", CorruptCheckpointError, "PB-R156: .* is not finite"),
        ("users and items swapped", CorruptCheckpointError, "PB-R15[56]: "),
        ("ids that are equal", CorruptCheckpointError, "PB-R156: .* ids of items are missing, or there twice"),
        ("codes beyond the users", CorruptCheckpointError, "PB-R15[56]: "),
        ("manifest nested deeply", CorruptCheckpointError, "PB-R095: .* is damaged"),
        ("link out of the folder", CorruptCheckpointError, "PB-R095: .* lies outside its run folder"),
        ("pipe", UnsafeFileError, "PB-R152: .* is not a regular file"),
        ("file of a terabyte", UnsafeFileError, "PB-R153: .* has 1,099,511,627,776 bytes, more than"),
        ("twenty million equal ids", UnsafeFileError, r"PB-R158: the table users.parquet would take 320,000,000 bytes"),
        ("far compressed", UnsafeFileError, "PB-R157: users.parquet is not a table as it is written .codec 6"),
        ("history without rows", CorruptCheckpointError, "PB-R156: .* history.csv has no epochs"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_hostile_folder(run, kind, error, match):
    KINDS[kind](run)
    with pytest.raises(error, match=match):
        pb.load(run)


def test_the_budget_is_no_smaller_than_what_is_written():
    assert sum(path.stat().st_size for path in GOLDEN.iterdir() if path.is_file()) < LEAST


@pytest.mark.parametrize("name", [".lock", "run.log", "checkpoints"])
def test_a_fit_does_not_write_through_links(run, tmp_path, name):
    (run / "manifest.json").unlink()
    secret = tmp_path / "secret"
    secret.write_text("kept")
    if name == "checkpoints":
        (run / name).rename(tmp_path / "elsewhere")
        secret = tmp_path / "elsewhere"
    (run / name).symlink_to(secret)
    with (
        pytest.raises(UnsafeFileError, match=rf"PB-R154: .*{name} is a link, pipe, socket or device"),
        NewRun(run, resume=True) as new,
    ):
        new._begin()
    assert secret.is_dir() or secret.read_text() == "kept"


def test_tensors_without_a_description_are_removed(run):
    for name in ("000001.safetensors", f"{TEMPORARY}1-ab"):
        (run / "checkpoints" / name).write_bytes(b"half")
    remove_leftovers(run)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["000026.json", "000026.safetensors"]


def test_what_a_killed_process_left_is_removed_by_the_next_write(tmp_path):
    path, other = tmp_path / "table.csv", tmp_path / "other.csv"
    opening = atomic_files._opening(path)
    for name in (f"{opening}1-ab", f"{atomic_files._opening(other)}1-cd"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / f"{opening}2-ef").mkdir()
    (tmp_path / f"{opening}2-ef" / "file").write_bytes(b"half")
    write_atomically(path, b"new")
    assert sorted(each.name for each in tmp_path.iterdir()) == [f"{atomic_files._opening(other)}1-cd", "table.csv"]


def test_what_another_process_is_writing_is_not_removed(tmp_path):
    with new_folder(tmp_path / "run") as first, new_folder(tmp_path / "run") as second:
        assert first != second
        assert first.is_dir()
        write_atomically(tmp_path / "table.csv", b"new")
        assert second.is_dir()
    assert [each.name for each in tmp_path.iterdir()] == ["table.csv"]


def test_a_full_disk_is_said_in_numbers(tmp_path, monkeypatch, full_disk):
    full_disk(monkeypatch, 0)
    with pytest.raises(
        RunFolderError, match=r"No space left on device \(need 2\.0 MB, \d+\.\d MB free\); what was there is"
    ):
        write_atomically(tmp_path / "table.csv", bytes(2_000_000))


@pytest.mark.skipif(not shutil.which("cc") or sys.platform != "linux", reason="needs a C compiler and Linux")
@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize(("part", "every"), [("save, kill", 13), ("popularity, EIO", 2)])
def test_disturbed_calls(tmp_path, part, every):
    found = disturbed(part, tmp_path, library(tmp_path), every=every)
    assert found["tried"] >= 2
    assert found["wrong"] == {}


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code", "said"),
    [
        (["SIGTERM"], 143, "stopped by SIGTERM after this epoch's checkpoint; continue with --resume"),
        (["SIGTERM", "SIGTERM"], 143, "stopped by SIGTERM"),
        (["SIGINT", "SIGINT"], 130, "interrupted; continue with --resume"),
    ],
)
def test_a_signal_ends_a_fit_in_order(tmp_path, frame, sent, code, said):
    frame.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "study.toml").write_text(f"{STUDY}validation = 0\n".replace("epochs = 2", "epochs = 40"))
    command = [sys.executable, "-m", "pyro_popbias", "fit", "study.toml", "--out"]
    fitting = subprocess.Popen(
        [*command, "run"], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    while not list(tmp_path.glob("run/checkpoints/*.json")) and fitting.poll() is None:
        time.sleep(0.01)
    for name in sent:
        fitting.send_signal(getattr(signal, name))
        time.sleep(0.02)
    assert said in fitting.communicate(timeout=120)[1]
    assert fitting.returncode == code
    assert not list((tmp_path / "run").rglob(f"{TEMPORARY}*"))
    assert not (tmp_path / "run" / "manifest.json").exists()
    for more in (["run", "--resume"], ["whole"]):
        subprocess.run([*command, *more], cwd=tmp_path, check=True, capture_output=True)
    one, other = ((tmp_path / name / "parameters.safetensors").read_bytes() for name in ("run", "whole"))
    assert one == other


@pytest.mark.nightly
@pytest.mark.slow
def test_a_clock_that_jumps_does_not_change_a_fit(frame, monkeypatch):
    study = pb.Study(model={"affinity": {"name": "embedding", "dim": 2}}, training={"epochs": 2, "phase_two": 1})
    events = pb.Interactions.from_frame(frame, label="label")
    whole = pb.fit(events, study=study, progress=False)
    jumps = iter(range(10**9))
    for name in ("time", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, lambda: (-1) ** next(jumps) * 1e9)
    pd.testing.assert_frame_equal(pb.fit(events, study=study, progress=False).popularity(), whole.popularity())


def test_a_log_is_looked_through_before_it_is_trained_on(frame, tmp_path):
    frame.to_parquet(tmp_path / "rows.parquet")
    columns = {"user": "user", "item": "item", "label": "label"}
    events = pb.Interactions.from_parquet(tmp_path / "rows.parquet", folder=tmp_path / "log", **columns)
    study = pb.Study(model={"affinity": {"name": "embedding", "dim": 2}}, training={"epochs": 1, "phase_two": 1})
    fit = pb.fit(events, study=study, progress=False)
    fit.save(tmp_path / "run")
    rows = bytearray((tmp_path / "log" / "rows.bin").read_bytes())
    rows[7] ^= 64
    (tmp_path / "log" / "rows.bin").write_bytes(rows)
    again = pb.Interactions.from_parquet(tmp_path / "rows.parquet", folder=tmp_path / "log", **columns)
    with pytest.raises(
        CorruptCheckpointError, match=r"PB-R146: .*rows.bin is missing or not what was written; remove the folder"
    ):
        pb.fit(again, study=study, progress=False)
    with pytest.raises(CorruptCheckpointError, match=r"PB-R146: .*rows.bin is missing or not what was written"):
        pb.load(tmp_path / "run").recommend(k=2)
    shutil.rmtree(tmp_path / "log")
    with pytest.raises(CorruptCheckpointError, match=r"PB-R146: .*rows.bin is missing or not what was written"):
        events.stored.read(0, 5)
    with pytest.warns(pb.errors.DataWarning, match=r"PB-D449: .*PB-R144: .*log holds no log"):
        loaded = pb.load(tmp_path / "run")
    with pytest.raises(
        pb.DataError, match=r"PB-D106: the run was opened without its interactions \(PB-R144: .*bring the log back"
    ):
        loaded.recommend(k=2)


def test_a_damaged_description_is_a_damaged_checkpoint(run):
    from pyro_popbias.storage.checkpoints import Checkpoints

    (run / "checkpoints" / "evil.json").write_text("{}")
    description = run / "checkpoints" / "000026.json"
    for facts in (
        {},
        {"schema": 6, "identity": [], "progress": {}, "sha256": ""},
        {"schema": 6, "identity": {}, "progress": 1},
    ):
        text = json.dumps(facts)
        description.write_text(json.dumps({"content": text, "sha256": sha256(text.encode())}))
        with pytest.raises(CorruptCheckpointError, match=r"PB-R094: checkpoint .* is damaged: "):
            Checkpoints(run, {}).latest()


def test_vectors_that_are_far_larger_than_the_folder(tmp_path):
    study = pb.Study(model={"affinity": {"name": "embedding", "dim": 4096}})
    with pytest.raises(
        CorruptCheckpointError, match=r"PB-R156: .* vectors of 4096 dimensions are declared, and 4000000 of"
    ):
        check_sizes(study, {"user_count": torch.zeros(4_000_000, dtype=torch.uint8)}, tmp_path)
    check_sizes(
        study, {"user_count": torch.zeros(4_000, dtype=torch.uint8)}, tmp_path
    )  # dimensions are dropped in training


def test_names_of_features_are_those_that_pandas_wrote():
    """Not those of pyarrow, which older versions do not write."""
    frame = pd.DataFrame({"id": ["a"], "value 0": [1.0]})
    frame.attrs = {"names": ["age"]}
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    written = parquet.read_table(io.BytesIO(buffer.getvalue()))
    noted = json.dumps({**json.loads(written.schema.metadata[b"pandas"]), "attributes": None}).encode()
    as_before = io.BytesIO()
    parquet.write_table(written.replace_schema_metadata({**written.schema.metadata, b"pandas": noted}), as_before)
    for content in (buffer, as_before):
        assert Contents({"users.parquet": content.getvalue()}).table("users.parquet").attrs == frame.attrs


def test_rows_that_take_a_few_bits_each_in_the_file_are_read():
    users, items = 70_000, 100  # each shown every item: 47 bytes of memory a row, and a fifth of a byte in the file
    rows = pd.DataFrame({"user": np.repeat(np.arange(users, dtype=np.int32), items)})
    rows = rows.assign(item=np.tile(np.arange(items, dtype=np.int32), users), period=np.int32(0), label=np.int8(1))
    file = io.BytesIO()
    rows.to_parquet(file, index=False)
    found = Contents({"interactions.parquet": file.getvalue()}).table("interactions.parquet")
    assert len(found) == users * items
    with pytest.raises(UnsafeFileError, match=r"PB-R158: the table items.parquet would take 448,000,000 bytes"):
        Contents({"items.parquet": file.getvalue()}).table("items.parquet")
