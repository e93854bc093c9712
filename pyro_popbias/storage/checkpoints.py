"""Checkpoints of a training in a run folder."""

import dataclasses
import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from pyro_popbias.data.atomic_files import sha256, write_atomically
from pyro_popbias.errors import CheckpointError, CorruptCheckpointError, DataWarning, SchemaVersionError
from pyro_popbias.storage.folder_state import CHECKPOINTS
from pyro_popbias.storage.reading import SCHEMA, checked
from pyro_popbias.storage.run_files import tensor_bytes
from pyro_popbias.training.state import Snapshot, TrainingState

KEPT = 2  # checkpoints


class Checkpoints:
    """The checkpoints of one training in a run folder: one per epoch, the last two kept, each with what it belongs to.

    Args:
        folder: the run folder.
        identity: what a checkpoint must agree with to be resumed: study and data.
        restart: number of the restart, from 1; those after the first have a folder of their own.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str], *, restart: int = 1) -> None:
        self._folder = folder / CHECKPOINTS / ("" if restart == 1 else f"restart-{restart}")
        self._identity = dict(identity)

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

    def latest(self) -> Snapshot | None:
        """Return the newest valid checkpoint; None where there is none.

        Raises:
            CorruptCheckpointError: none of them is what was written.
            CheckpointError: it belongs to another study or other data.
        """
        files = sorted(self._folder.glob("*.json"), reverse=True)
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
        if fault is None:
            return None
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
        stored = facts["identity"]
        differing = [key for key in {**self._identity, **stored} if self._identity.get(key) != stored.get(key)]
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
