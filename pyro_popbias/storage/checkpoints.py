"""Checkpoints of a training in a run folder."""

import dataclasses
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from pyro_popbias.data.atomic_files import sha256, write_atomically
from pyro_popbias.data.regular_files import read_regular
from pyro_popbias.errors import (
    CheckpointError,
    CorruptCheckpointError,
    DataWarning,
    UnsafeFileError,
)
from pyro_popbias.storage.folder_state import CHECKPOINTS
from pyro_popbias.storage.reading import checked
from pyro_popbias.storage.run_files import tensor_bytes
from pyro_popbias.storage.schema import SCHEMA, refuse_other
from pyro_popbias.training.state import Snapshot, TrainingState

KEPT = 2  # checkpoints
MOST_OF_DESCRIPTION = 268_435_456  # bytes; the history of a training is in it
MOST_SHOWN, LONGEST_SHOWN = 5, 40  # values of a message, and characters of one


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
        for old in self._described()[:-KEPT]:
            old.unlink()
            old.with_suffix(".safetensors").unlink(missing_ok=True)

    def latest(self) -> Snapshot | None:
        """Return the newest valid checkpoint; None where there is none.

        Raises:
            CorruptCheckpointError: none of them is what was written.
            CheckpointError: it belongs to another study or other data.
        """
        fault: CheckpointError | None = None
        for file in reversed(self._described()):
            try:
                snapshot = self._read(file)
            except (CorruptCheckpointError, UnsafeFileError) as error:
                fault = error
            else:
                if fault is not None:
                    warnings.warn(f"{fault}; going on from epoch {int(file.stem)}", DataWarning, stacklevel=2)
                return snapshot
        if fault is None:
            return None
        raise CorruptCheckpointError(f"{fault}; no earlier checkpoint is whole, fit without --resume in a new folder")

    def _described(self) -> list[Path]:
        """Return the descriptions of checkpoints, the oldest first."""
        numbered = (file for file in self._folder.glob("*.json") if file.stem.isdecimal())
        return sorted(numbered, key=lambda file: int(file.stem))

    def _read(self, file: Path) -> Snapshot:
        facts = _facts(file)
        refuse_other(facts["schema"], f"checkpoint {file}")
        self._refuse_another_run(file, facts["identity"])
        content = checked(file.parent, f"{file.stem}.safetensors", facts["sha256"])
        try:
            return TrainingState(**facts["progress"]), safetensors.torch.load(content)
        except (SafetensorError, TypeError, ValueError, KeyError) as error:
            raise CorruptCheckpointError(f"PB-R094: checkpoint {file} is damaged: {str(error)[:200]}") from error

    def _refuse_another_run(self, file: Path, stored: dict[str, str]) -> None:
        own = self._identity
        differing = [key for key in {**own, **stored} if own.get(key) != stored.get(key)]
        if differing:
            shown = [f"{key} was {_value(stored.get(key))} and is {_value(own.get(key))}" for key in differing]
            raise CheckpointError(
                f"PB-R097: checkpoint {file} belongs to another run; these differ: {', '.join(differing)}. "
                f"Resume with the same study and data, or fit in a new folder ({'; '.join(shown[:MOST_SHOWN])})"
            )


def _facts(file: Path) -> dict[str, Any]:
    """Return what the description of a checkpoint says."""
    try:
        outer = json.loads(read_regular(file, most=MOST_OF_DESCRIPTION))
        if sha256(outer["content"].encode()) != outer["sha256"]:
            raise ValueError("its SHA-256 differs")
        facts: dict[str, Any] = json.loads(outer["content"])
        kinds = {"identity": dict, "progress": dict, "sha256": str}
        wrong = [name for name, kind in kinds.items() if "schema" not in facts or not isinstance(facts[name], kind)]
        if wrong:
            raise ValueError(f"it lacks {', '.join(wrong)}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError, UnsafeFileError) as error:
        raise CorruptCheckpointError(f"PB-R094: checkpoint {file} is damaged: {str(error)[:200]}") from error
    return facts


def _value(value: object) -> str:
    """Return a value of an identity, short: fingerprints by how they begin."""
    text = "not set" if value is None else str(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:8]}..."
