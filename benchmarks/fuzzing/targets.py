"""The targets: each takes bytes for a file that the package reads, and must end well or in one of the package's errors."""

import gzip
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import pyro_popbias as pb
from fuzzing.folders import (
    MANIFEST,
    TENSORS,
    checkpoint_facts,
    folder,
    frame,
    log_folder,
    replaced,
    run_folder,
    sealed,
)
from pyro_popbias.data.stored_log import StoredLog
from pyro_popbias.storage.checkpoints import Checkpoints
from pyro_popbias.study.study import Study

Bytes = Callable[[], bytes]


@dataclass(frozen=True)
class Target:
    """Something that reads a file.

    Attributes:
        read: gets the content of the file.
        whole: makes a content that is read without an error.
        kind: of the content, which says what hypothesis makes: "csv", "toml", "json", "safetensors" or "bytes".
    """

    read: Callable[[bytes], object]
    whole: Bytes
    kind: str


def _table(name: str) -> Callable[[bytes], object]:
    def read(content: bytes) -> object:
        path = folder() / name
        path.write_bytes(content)
        return pb.read_interactions(path, label="label", time="time", periods=3)

    return read


def _features(content: bytes) -> object:
    path, log = folder() / "features.csv", folder() / "whole.csv"
    path.write_bytes(content)
    log.write_bytes(_csv())
    return pb.read_interactions(log, label="label", item_features=path)


def _stream(content: bytes) -> object:
    path, own = folder() / "rows-of-a-log.parquet", folder() / "new-log"
    path.write_bytes(content)
    shutil.rmtree(own, ignore_errors=True)
    return pb.Interactions.from_parquet(path, label="label", time="time", periods=2, folder=own)


def _study(content: bytes) -> object:
    path = folder() / "study.toml"
    path.write_bytes(content)
    return Study.from_toml(path)


def _checkpoint(description: bytes, tensors: bytes) -> object:
    path = folder() / "checkpoints"
    path.mkdir(exist_ok=True)
    (path / "000001.json").write_bytes(description)
    (path / "000001.safetensors").write_bytes(tensors)
    return Checkpoints(folder(), {"data": "1"}).latest()


def _csv() -> bytes:
    return frame().to_csv(index=False).encode()


def _parquet() -> bytes:
    buffer = io.BytesIO()
    frame().to_parquet(buffer, index=False)
    return buffer.getvalue()


def _feature_table() -> bytes:
    items = frame()["item"].unique()
    return pd.DataFrame({"item": items, "year": range(len(items)), "kind": "a"}).to_csv(index=False).encode()


def _study_text() -> bytes:
    return Study().to_toml().encode()


def _of_run(name: str, kind: str) -> Target:
    return Target(replaced(run_folder, name, pb.load), lambda: (run_folder() / name).read_bytes(), kind)


def _of_log(name: str, kind: str) -> Target:
    def read(path: Path) -> object:
        log = StoredLog.open(path)
        return list(log.blocks(5))

    return Target(replaced(log_folder, name, read), lambda: (log_folder() / name).read_bytes(), kind)


TARGETS = {
    "csv": Target(_table("log.csv"), _csv, "csv"),
    "csv-gz": Target(_table("log.csv.gz"), lambda: gzip.compress(_csv(), mtime=0), "bytes"),
    "features": Target(_features, _feature_table, "csv"),
    "parquet": Target(_table("log.parquet"), _parquet, "bytes"),
    "parquet-stream": Target(_stream, _parquet, "bytes"),
    "study": Target(_study, _study_text, "toml"),
    "checkpoint": Target(lambda facts: _checkpoint(sealed(facts), TENSORS), checkpoint_facts, "json"),
    "checkpoint-seal": Target(lambda text: _checkpoint(text, TENSORS), lambda: sealed(checkpoint_facts()), "json"),
    "checkpoint-tensors": Target(
        lambda tensors: _checkpoint(sealed(checkpoint_facts(tensors)), tensors), lambda: TENSORS, "safetensors"
    ),
    "log-manifest": _of_log(MANIFEST, "json"),
    "log-ids": _of_log("items.jsonl", "json"),
    "log-counts": _of_log("counts.safetensors", "safetensors"),
    "run-manifest": _of_run(MANIFEST, "json"),
    "run-study": _of_run("study.toml", "toml"),
    "run-parameters": _of_run("parameters.safetensors", "safetensors"),
    "run-chains": _of_run("chains.safetensors", "safetensors"),
    "run-ids": _of_run("items.parquet", "bytes"),
    "run-rows": _of_run("interactions.parquet", "bytes"),
    "run-features": _of_run("item_features.parquet", "bytes"),
    "run-history": _of_run("history.csv", "csv"),
}
