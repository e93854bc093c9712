"""Files that are read as a whole: regular ones only, which do not change meanwhile."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pyro_popbias.errors import DataError, RunFolderError


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file to read; a pipe or a device, whose content may never end, is not waited for.

    Raises:
        RunFolderError: it does not exist or cannot be read.
        DataError: it is not a regular file, or was changed while it was read.
    """
    try:
        with open(path, "rb", opener=_at_once) as file:  # a Path takes no opener
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise DataError(
                    f"PB-D456: {path} is not a regular file but {_kind(before.st_mode)}; write its content to a file first"
                )
            yield file
            after = os.fstat(file.fileno())
    except OSError as error:
        raise RunFolderError(f"PB-R022: cannot read {path}: {error.strerror or error}") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise DataError(
            f"PB-D457: {path} was changed while it was read ({before.st_size} bytes before, {after.st_size} after); read it "
            "again when it is whole"
        )


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # else a pipe would wait for its writer


def _kind(mode: int) -> str:
    names = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}
    return names.get(stat.S_IFMT(mode), "something else")
