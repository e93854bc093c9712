"""The lock of a run folder: one process at a time."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyro_popbias.data.atomic_files import in_words
from pyro_popbias.errors import RunFolderError, RunLockedError
from pyro_popbias.storage.folder_state import LOCK

FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder; it goes with the process.

    Raises:
        RunLockedError: another process holds it.
        RunFolderError: the folder cannot be made or written to.
    """
    text = f"process {os.getpid()} on {socket.gethostname()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(folder / LOCK, FLAGS, 0o666), "a+")
    except OSError as error:
        raise RunFolderError(f"PB-R100: cannot write to {folder}: {in_words(error, 0, folder)}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise RunLockedError(
                f"PB-R101: {folder} is in use by {file.read().strip() or 'another process'}"
            ) from error
        try:
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), text.encode())
        except OSError as error:
            raise RunFolderError(f"PB-R100: cannot write to {folder}: {in_words(error, len(text), folder)}") from error
        yield
