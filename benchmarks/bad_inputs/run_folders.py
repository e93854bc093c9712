"""Rows 94 to 102: run folders, checkpoints and reports."""

import json
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.torch

import pyro_popbias as pb
from bad_inputs.row import Row
from pyro_popbias.data.atomic_files import sha256
from pyro_popbias.data.table_files import write_table
from pyro_popbias.errors import (
    CheckpointError,
    CorruptCheckpointError,
    DataWarning,
    RunFolderError,
    RunLockedError,
    SchemaVersionError,
    UnsafeFileError,
)
from pyro_popbias.storage.checkpoints import Checkpoints
from pyro_popbias.storage.lock import locked
from pyro_popbias.training.state import TrainingState

GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "schema-6"
POPULARITY = ("popularity", "run", "-o", "out.csv")
HELD: list[object] = []
IDENTITY = {"training.seed": "0", "data": "abc"}


def run_in(folder: Path) -> Path:
    """Copy a finished run into a folder."""
    return Path(shutil.copytree(GOLDEN, folder / "run"))


def changed(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    """Return what copies a finished run and changes it."""

    def prepare(folder: Path) -> Path:
        run = run_in(folder)
        change(run)
        return run

    return prepare


def rewrite(name: str, of: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """Return what changes a file of a run."""
    return lambda run: (run / name).write_bytes(of((run / name).read_bytes()))


def flipped(content: bytes) -> bytes:
    """Flip a bit."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def rehashed(name: str, content: bytes) -> Callable[[Path], object]:
    """Return what replaces a file of a run, and its hash."""

    def change(run: Path) -> None:
        (run / name).write_bytes(content)
        manifest = json.loads((run / "manifest.json").read_text())
        manifest["sha256"][name] = sha256(content)
        (run / "manifest.json").write_text(json.dumps(manifest))

    return change


def other_schema(run: Path) -> None:
    """Give a run a later schema."""
    manifest = json.loads((run / "manifest.json").read_text()) | {"schema": 99}
    (run / "manifest.json").write_text(json.dumps(manifest))


def load(folder: Path, given: Path) -> object:
    """Open a run."""
    return pb.load(given)


def two_checkpoints(folder: Path) -> Path:
    """Write two checkpoints."""
    for epochs in (1, 2):
        state = TrainingState(epoch=epochs, history=[{"elbo": 0.0}] * epochs)
        Checkpoints(folder, IDENTITY).save((state, {"parameters.a": safetensors.torch.torch.zeros(3)}))
    return folder


def damaged_checkpoint(of: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    """Return what writes two checkpoints and damages the later one."""

    def prepare(folder: Path) -> Path:
        rewrite("checkpoints/000002.safetensors", of)(two_checkpoints(folder))
        return folder

    return prepare


def latest(folder: Path, given: Path) -> object:
    """Read the newest checkpoint."""
    return Checkpoints(given, IDENTITY).latest()


def of_another(folder: Path, given: Path) -> object:
    """Read a checkpoint of another study."""
    return Checkpoints(given, IDENTITY | {"training.seed": "1"}).latest()


def save_into(make: Callable[[Path], object]) -> Callable[[Path, Path], object]:
    """Return what saves a fit where something is wrong."""

    def call(folder: Path, given: Path) -> object:
        fit = pb.load(given)
        with make(folder):
            fit.save(folder / "saved")

    return call


class Limited:
    """Files may have 100 bytes meanwhile."""

    def __init__(self, folder: Path) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def __enter__(self) -> None:
        self._handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, self._before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)
        signal.signal(signal.SIGXFSZ, self._handler)


def held(folder: Path) -> Path:
    """Lock a run for the rest of this process."""
    lock = locked(run_in(folder))
    lock.__enter__()
    HELD.append(lock)
    return folder / "run"


def lock_again(folder: Path, given: Path) -> None:
    """Take a lock that is held."""
    with locked(given):
        raise AssertionError("locked twice")


def tables(folder: Path, given: object) -> None:
    """Write ids that are formulas, scripts and mathematics, and read them again."""
    ids = ["</script><script>", "=cmd|' /C calc'!A0", "$\\frac{$", "\u202eabc", "x" * 1_000]
    frame = pd.DataFrame({"item": ids, "score": np.arange(5.0)})
    write_table(frame, folder / "table.csv")
    write_table(frame, folder / "table.parquet")
    shown = pd.read_csv(folder / "table.csv")["item"]
    if list(pd.read_parquet(folder / "table.parquet")["item"]) != ids or shown.str.startswith("=").any():
        raise AssertionError("ids have changed, or are formulas")


PICKLE = b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94."
ZIP = b"PK\x03\x04" + bytes(60)
STRIDES = b'{"count":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4]}}'
ROWS = [
    Row(
        *(94, "run cut short", load, CorruptCheckpointError, r"PB-R095: .*users.parquet is not what was written"),
        prepare=changed(rewrite("users.parquet", lambda content: content[:-1])),
        arguments=POPULARITY,
        exit_code=5,
    ),
    Row(
        *(94, "checkpoint cut short", latest, DataWarning, r"PB-R095: .*000002.*; going on from epoch 1"),
        prepare=damaged_checkpoint(lambda content: content[:-1]),
    ),
    Row(
        *(95, "flipped bit of a run", load, CorruptCheckpointError, r"PB-R095: .*SHA-256 differs"),
        prepare=changed(rewrite("parameters.safetensors", flipped)),
        arguments=POPULARITY,
        exit_code=5,
    ),
    Row(
        *(95, "flipped bit of a checkpoint", latest, DataWarning, r"PB-R095: .*SHA-256 differs.*; going on from epoch 1"),
        prepare=damaged_checkpoint(flipped),
    ),
    Row(
        *(96, "later schema", load, SchemaVersionError, r"PB-R096: .* has schema 99, this version reads 6; open it with"),
        prepare=changed(other_schema),
        arguments=POPULARITY,
        exit_code=5,
    ),
    Row(
        *(96, "earlier schema", load, SchemaVersionError, r"PB-R096: .* has schema 5, .*; open it with revision"),
        prepare=lambda folder: Path(shutil.copytree(GOLDEN.with_name("schema-5"), folder / "run")),
        arguments=POPULARITY,
        exit_code=5,
    ),
    Row(
        *(97, "checkpoint of another run", of_another, CheckpointError),
        message=r"PB-R097: .* these differ: training.seed\. Resume .*\(training.seed was 0 and is 1\)",
        prepare=two_checkpoints,
    ),
    *(
        Row(
            *(98, what, load, CorruptCheckpointError, r"PB-R15[5-8]: "),
            prepare=changed(rehashed("parameters.safetensors", content)),
            arguments=POPULARITY,
            exit_code=5,
        )
        for what, content in {
            "pickle": PICKLE,
            "zip archive": ZIP,
            "billion numbers of four bytes": len(STRIDES).to_bytes(8, "little") + STRIDES + bytes(4),
        }.items()
    ),
    Row(
        *(98, "pipe", load, UnsafeFileError, r"PB-R152: .*items.parquet is not a regular file"),
        prepare=changed(lambda run: ((run / "items.parquet").unlink(), os.mkfifo(run / "items.parquet"))),
        arguments=POPULARITY,
        exit_code=5,
    ),
    Row(
        *(98, "link out of the run", load, CorruptCheckpointError, r"PB-R095: .*study.toml lies outside its run folder"),
        prepare=changed(lambda run: (run / "study.toml").rename(run.parent / "s") and (run / "study.toml").symlink_to("../s")),
        arguments=POPULARITY,
        exit_code=5,
    ),
    Row(
        *(99, "run that was killed before it was finished", load, RunFolderError, r"PB-R102: .* or use --resume"),
        prepare=changed(lambda run: (run / "manifest.json").unlink()),
        arguments=POPULARITY,
        exit_code=5,
    ),
    Row(
        *(100, "full disk", save_into(Limited), RunFolderError),
        message=r"PB-R100: cannot write .*saved.*File too large \(need .*, .* MB free\)",
        prepare=run_in,
    ),
    Row(
        *(100, "output in a folder that is not there", None, None, r"PB-R100: cannot write"),
        prepare=run_in,
        arguments=("popularity", "run", "-o", "missing/out.csv"),
        exit_code=5,
    ),
    Row(
        *(101, "locked folder", lock_again, RunLockedError, r"PB-R101: .* is in use by process \d+ on "),
        prepare=held,
    ),
    Row(*(102, "ids that are formulas scripts and mathematics", tables, None)),
]  # fmt: skip
