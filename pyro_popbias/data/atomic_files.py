"""Atomic writes: a temporary file in the same folder, fsync, rename, fsync of the folder."""

import hashlib
import os
import secrets
from pathlib import Path

from pyro_popbias.errors import RunFolderError

TEMPORARY = ".tmp-"


def sha256(content: bytes) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file atomically: readers, and a crash, see either the old content or the new.

    Raises:
        RunFolderError: the disk is full, or the folder is missing or may not be written to.
    """
    temporary = path.parent / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise RunFolderError(f"PB-R100: cannot write {path} ({len(content)} bytes): {error.strerror}") from error


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
