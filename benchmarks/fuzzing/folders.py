"""What the targets read from: a small log, a finished run and a log on disk, in a folder of this process."""

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.numpy

import pyro_popbias as pb
from pyro_popbias.storage.checkpoints import SCHEMA
from pyro_popbias.study.study import Study
from pyro_popbias.training.state import TrainingState

MANIFEST = "manifest.json"
TENSORS = safetensors.numpy.save({"model.a": np.zeros(2, dtype=np.float32), "guide.b": np.ones((1, 2))})


def frame(rows: int = 12) -> pd.DataFrame:
    """Return a small log, with ids that need quotes."""
    codes = range(rows)
    return pd.DataFrame(
        {
            "user": [f"u{n % 4}" for n in codes],
            "item": [f'i "{n % 3}", é' for n in codes],
            "label": [n * n % 5 % 2 for n in codes],
            "time": np.linspace(0.0, 30.0, rows),
        }
    )


@cache
def folder() -> Path:
    """Return a folder of this process."""
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


def remove_folder() -> None:
    """Remove the folder of this process, and forget what was made in it."""
    shutil.rmtree(folder(), ignore_errors=True)
    for made in (folder, run_folder, log_folder):
        made.cache_clear()


@cache
def run_folder() -> Path:
    """Return a finished run with two restarts, interactions, periods and features of items."""
    path = folder() / "run"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        events = pb.Interactions.from_frame(frame(), label="label", time="time", periods=2)
        features = pd.DataFrame({"year": [1.0, 2.0, 3.0]}, index=events.items)
        study = Study(
            training={"epochs": 1, "seed": 0, "phase_two": 0}, model={"affinity": {"name": "embedding", "dim": 2}}
        )
        pb.fit(events.with_features(item_features=features), study=study, restarts=2, progress=False).save(path)
    return path


@cache
def log_folder() -> Path:
    """Return a log that was read from Parquet into a folder."""
    source, path = folder() / "rows.parquet", folder() / "log"
    frame().to_parquet(source, index=False)
    pb.Interactions.from_parquet(source, label="label", folder=path)
    return path


def replaced(top: Callable[[], Path], name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Return what reads a folder in which one file has another content, to which the manifest's hash is made to fit."""

    def run(content: bytes) -> object:
        whole = top()
        kept = {each: (whole / each).read_bytes() for each in {name, MANIFEST}}
        try:
            (whole / name).write_bytes(content)
            if name != MANIFEST:
                facts = json.loads(kept[MANIFEST])
                facts["sha256"][name] = digest(content)
                (whole / MANIFEST).write_text(json.dumps(facts), encoding="utf-8")
            return read(whole)
        finally:
            for each, before in kept.items():
                (whole / each).write_bytes(before)

    return run


def checkpoint_facts(tensors: bytes = TENSORS) -> bytes:
    """Return the inner description of a checkpoint with some tensors."""
    progress = asdict(TrainingState(history=[{"epoch": 1.0}]))
    facts = {"schema": SCHEMA, "identity": {"data": "1"}, "progress": progress, "sha256": digest(tensors)}
    return json.dumps(facts).encode()


def sealed(facts: bytes) -> bytes:
    """Return the file of a checkpoint's description: what is described, and its hash."""
    text = facts.decode("utf-8", errors="replace")
    return json.dumps({"content": text, "sha256": digest(text.encode())}).encode()


def digest(content: bytes) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
