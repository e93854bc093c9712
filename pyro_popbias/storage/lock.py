"""The lock of a run folder: one process at a time."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyro_popbias.errors import RunFolderError, RunLockedError
from pyro_popbias.storage.folder_state import LOCK


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder; it goes with the process.

    Raises:
        RunLockedError: another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+")
    except OSError as error:
        raise RunFolderError(f"PB-R100: cannot write to {folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise RunLockedError(
                f"PB-R101: {folder} is in use by {file.read().strip() or 'another process'}"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
