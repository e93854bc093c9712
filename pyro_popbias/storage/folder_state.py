"""What a folder holds before a run is written to it: nothing, leftovers of a start that failed, checkpoints or a run."""

from enum import Enum
from pathlib import Path

from pyro_popbias.data.atomic_files import TEMPORARY, remove_temporaries
from pyro_popbias.errors import RunFolderError

LOCK = ".lock"
LOG = "run.log"
CHECKPOINTS = "checkpoints"
MANIFEST = "manifest.json"


class Holds(Enum):
    """What a folder holds; the value is how a message says it."""

    NOTHING = "nothing"
    LEFTOVERS = "only leftovers of a run that stopped before its first checkpoint"
    UNFINISHED = "the checkpoints of an unfinished run"
    FINISHED = "a finished run"
    OTHER = "files of something else"


def held_by(folder: Path) -> Holds:
    """Return what a folder holds; a checkpoint is there once its description is written."""
    if not folder.exists():
        return Holds.NOTHING
    if (folder / MANIFEST).is_file():
        return Holds.FINISHED
    if any((folder / CHECKPOINTS).rglob("*.json")):
        return Holds.UNFINISHED
    if not folder.is_dir() or not all(_is_leftover(path) for path in folder.iterdir()):
        return Holds.OTHER
    return Holds.LEFTOVERS


def _is_leftover(path: Path) -> bool:
    if path.name == CHECKPOINTS:
        return path.is_dir() and all(each.is_dir() or _is_tensors(each) for each in path.rglob("*"))
    return path.is_file() and (path.name in (LOCK, LOG) or path.name.startswith(TEMPORARY))


def _is_tensors(path: Path) -> bool:
    """Return whether a file is the first half of a checkpoint, or less."""
    return path.suffix == ".safetensors" or path.name.startswith(TEMPORARY)


def refuse_full(folder: Path) -> None:
    """Refuse a folder that holds anything but a lock.

    Raises:
        RunFolderError: it does.
    """
    if folder.exists() and (not folder.is_dir() or any(path.name != LOCK for path in folder.iterdir())):
        raise RunFolderError(f"PB-R101: {folder} exists and is not empty; choose another name or remove it")


def refuse_run(folder: Path) -> None:
    """Refuse a folder that a new fit would overwrite: all but leftovers of one that had no checkpoint yet.

    Raises:
        RunFolderError: it holds a run, finished or not, or something else.
    """
    holds = held_by(folder)
    if holds in (Holds.FINISHED, Holds.UNFINISHED):
        raise RunFolderError(
            f"PB-R101: {folder} exists and is not empty: it holds {holds.value}; continue it with --resume, or choose "
            "another name"
        )
    if holds is Holds.OTHER:
        refuse_full(folder)


def refuse_to_resume(folder: Path) -> None:
    """Refuse a folder in which no fit was started, or whose run was saved without checkpoints.

    Raises:
        RunFolderError: it does not exist, or holds something else.
    """
    holds = held_by(folder)
    there = f"holds {holds.value} and no checkpoint" if folder.exists() else "does not exist"
    saved = holds is Holds.FINISHED and not any((folder / CHECKPOINTS).rglob("*.json"))
    if holds in (Holds.NOTHING, Holds.OTHER) or saved:
        raise RunFolderError(f"PB-R103: {folder} {there}, so there is nothing to resume; fit without --resume")


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process left half written; only for the process that holds the folder's lock.

    That includes tensors of a checkpoint whose description was not written, or was deleted first. Without a checkpoint nothing
    of the earlier start is kept.
    """
    remove_temporaries(folder)
    if held_by(folder) is Holds.LEFTOVERS:
        (folder / LOG).unlink(missing_ok=True)
    for path in (folder / CHECKPOINTS).rglob("*.safetensors"):
        if not path.with_suffix(".json").exists():
            path.unlink(missing_ok=True)
