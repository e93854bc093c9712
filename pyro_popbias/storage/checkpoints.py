"""Checkpoints of a run folder, what they belong to, and the folder's lock."""

import dataclasses
import fcntl
import json
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import safetensors.torch
from safetensors import SafetensorError
from torch.nn import Module

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.data.atomic_files import sha256, write_atomically
from pyro_popbias.errors import (
    CheckpointError,
    CorruptCheckpointError,
    DataWarning,
    RunFolderError,
    RunLockedError,
    SchemaVersionError,
)
from pyro_popbias.storage.run_folder import SCHEMA, checked, tensor_bytes
from pyro_popbias.training.loop import Snapshot, TrainingState

KEPT = 2  # checkpoints


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder; it goes with the process.

    Raises:
        RunLockedError: another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a+")
    except OSError as error:
        raise RunFolderError(f"PB-R100: cannot write to {folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise RunLockedError(
                f"PB-R310: {folder} is in use by {file.read().strip() or 'another process'}"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


class Checkpoints:
    """The checkpoints of a run folder: one an epoch, the last two kept, each with what it belongs to.

    Args:
        folder: the run folder.
        identity: what a checkpoint must agree with to be resumed: study and data.
    """

    def __init__(self, folder: Path, identity: dict[str, str]) -> None:
        self._folder = folder / "checkpoints"
        self._identity = identity

    def save(self, snapshot: Snapshot) -> None:
        """Write a checkpoint: tensors first, then the description that makes it valid."""
        progress, tensors = snapshot
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{len(progress.history):06d}"
        content = tensor_bytes(tensors)
        facts = {"schema": SCHEMA, "identity": self._identity, "progress": dataclasses.asdict(progress)}
        text = json.dumps(facts | {"sha256": sha256(content)})
        write_atomically(self._folder / f"{name}.safetensors", content)
        write_atomically(
            self._folder / f"{name}.json", json.dumps({"content": text, "sha256": sha256(text.encode())}).encode()
        )
        for old in sorted(self._folder.glob("*.json"))[:-KEPT]:
            old.unlink()
            old.with_suffix(".safetensors").unlink(missing_ok=True)

    def latest(self) -> Snapshot:
        """Return the newest valid checkpoint.

        Raises:
            RunFolderError: there is none.
            CorruptCheckpointError: none of them is what was written.
            CheckpointError: it belongs to another study or other data.
        """
        files = sorted(self._folder.glob("*.json"), reverse=True)
        if not files:
            raise RunFolderError(f"PB-R103: {self._folder} holds no checkpoint to resume from; fit without --resume")
        fault = None
        for file in files:
            try:
                snapshot = self._read(file)
            except CorruptCheckpointError as error:
                fault = error
            else:
                if fault is not None:
                    warnings.warn(f"{fault}; going on from epoch {int(file.stem)}", DataWarning, stacklevel=2)
                return snapshot
        raise CorruptCheckpointError(f"{fault}; no earlier checkpoint is whole, fit without --resume in a new folder")

    def _read(self, file: Path) -> Snapshot:
        try:
            outer = json.loads(file.read_bytes())
            if sha256(outer["content"].encode()) != outer["sha256"]:
                raise ValueError("its SHA-256 differs")
            facts = json.loads(outer["content"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise CorruptCheckpointError(f"PB-R094: checkpoint {file} is damaged: {error}") from error
        if facts["schema"] != SCHEMA:
            raise SchemaVersionError(
                f"PB-R096: checkpoint {file} has schema {facts['schema']}, this version reads {SCHEMA}"
            )
        differing = [key for key, value in self._identity.items() if facts["identity"].get(key) != value]
        if differing:
            raise CheckpointError(
                f"PB-R097: checkpoint {file} belongs to another run; these differ: {', '.join(differing)}. "
                "Resume with the same study and data, or fit in a new folder"
            )
        content = checked(file.parent, f"{file.stem}.safetensors", facts["sha256"])
        try:
            return TrainingState(**facts["progress"]), safetensors.torch.load(content)
        except SafetensorError as error:
            raise CorruptCheckpointError(f"PB-R094: checkpoint {file} is damaged: {error}") from error


def _of_buffers(module: Module) -> str:
    """Return a fingerprint of what a module was given: vectors, or the numbers that counts gave."""
    return sha256(b"".join(buffer.cpu().numpy().tobytes() for buffer in module.buffers()))


def identity(pair: Pair) -> dict[str, str]:
    """Return what decides a run: the study by section, and fingerprints of vectors, counts and data."""
    study, events = pair.study, pair.events
    affinity, prior = study.model.affinity, study.model.prior
    columns = [events.user, events.item, events.label, events.time]
    if (name := getattr(affinity, "score", None)) is not None:
        columns.append(events.columns[name].to_numpy())
    rows = b"".join(np.ascontiguousarray(column).tobytes() for column in columns if column is not None)
    ids = "\0".join(events.users) + "\1" + "\0".join(events.items)
    for kind, features in ((b"\2", events.user_features), (b"\3", events.item_features)):
        rows += b"" if features is None else kind + features.to_bytes()
    return {
        "model": study.model.model_dump_json(exclude={"affinity", "prior"}),
        "guide": study.guide.model_dump_json(),
        "training": study.training.model_dump_json(),
        "affinity": affinity.model_dump_json(exclude={"user_vectors", "item_vectors"})
        + _of_buffers(pair.model.affinity),
        "prior": prior.model_dump_json(exclude={"counts"}) + _of_buffers(pair.model.prior),
        "periods": f"{events.periods}" if events.period_by == "time" else f"{events.periods} by {events.period_by}",
        "data": sha256(rows + ids.encode()),
    }
