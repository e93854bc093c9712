"""Atomic writes: a temporary file in the same folder, fsync, rename, fsync of the folder.

A process holds a lock on what it has not yet renamed, which goes with the process: what a killed one left behind is told
from what another one is writing, and the next write of the same file or folder removes it.
"""

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyro_popbias.errors import RunFolderError

TEMPORARY = ".tmp-"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SMALL = 50_000  # bytes; fewer are not said in MB


def sha256(content: bytes) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file atomically: readers, and a crash, see either the old content or the new.

    Raises:
        RunFolderError: the disk is full, or the folder is missing or may not be written to.
    """
    try:
        with _new_file(path) as (temporary, handle):
            with os.fdopen(handle, "wb", closefd=False) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise RunFolderError(
            f"PB-R100: cannot write {path} ({len(content)} bytes): {in_words(error, len(content), path.parent)}"
        ) from error


def in_words(error: OSError, size: int, folder: Path) -> str:
    """Return what an error of the system says; where a disk is full, with the space that is needed and that is free.

    Args:
        error: the error.
        size: bytes that were to be written; 0 where nobody knows.
        folder: where.
    """
    said = error.strerror or str(error)
    if error.errno not in FULL:
        return said
    free = "an unknown number of"
    with suppress(OSError):
        free = f"{shutil.disk_usage(folder).free / 1e6:.1f}"
    need = f"need {size / 1e6:.1f} MB, " if size >= SMALL else f"need {size} bytes, " if size else ""
    return f"{said} ({need}{free} MB free); what was there is unchanged, make room and run it again"


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make a temporary folder beside `path`, to be renamed to it; it is deleted if it is still there at the end.

    Raises:
        OSError: it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    while True:
        temporary = _temporary(path)
        temporary.mkdir()
        with suppress(FileNotFoundError):
            handle = os.open(temporary, os.O_RDONLY)
            if _claimed(handle, temporary):
                break
            os.close(handle)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(handle)


@contextmanager
def _new_file(path: Path) -> Iterator[tuple[Path, int]]:
    """Make a temporary file beside `path`, and yield it with its handle; it is deleted if it is still there at the end."""
    _remove_abandoned(path)
    while True:
        temporary = _temporary(path)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        if _claimed(handle, temporary):
            break
        os.close(handle)
    try:
        yield temporary, handle
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _temporary(path: Path) -> Path:
    return path.parent / f"{_opening(path)}{os.getpid()}-{secrets.token_hex(4)}"


def _opening(path: Path) -> str:
    """Return how the names of what is renamed to `path` begin; the path's own name may be as long as names can be."""
    return f"{TEMPORARY}{sha256(os.fsencode(path.name))[:8]}-"


def _claimed(handle: int, path: Path) -> bool:
    """Lock what was just made; False where another process has removed it before it was locked."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, where nothing is removed either
        return True
    return path.exists()


def _remove_abandoned(path: Path) -> None:
    """Delete what killed processes would have renamed to `path`: nobody holds its lock."""
    for leftover in path.parent.glob(f"{_opening(path)}*"):
        with suppress(OSError):
            handle = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink()
            finally:
                os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable across a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_temporaries(folder: Path) -> None:
    """Delete half-written files of a killed process; call it only while holding the folder's lock."""
    for leftover in folder.glob(f"**/{TEMPORARY}*"):
        leftover.unlink(missing_ok=True)
