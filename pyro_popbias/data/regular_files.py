"""Reading of files that others may have made: regular ones only, never a pipe or a device, and none too large.

Tables are opened wherever a link leads; files of a run folder are not links.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pyro_popbias.errors import DataError, RunFolderError, UnsafeFileError


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


def read_regular(path: Path, *, most: int | None = None) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file; a symbolic link in its last part is not followed.
        most: bytes that it may hold; None for any number.

    Raises:
        UnsafeFileError: it is not a regular file, or larger.
        OSError: it cannot be read.
    """
    # a pipe without a writer would block
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise UnsafeFileError(
                f"PB-R152: {path} is not a regular file but {_kind(found.st_mode)}; restore it from a copy"
            )
        if most is not None and found.st_size > most:
            raise UnsafeFileError(
                f"PB-R153: {path} has {found.st_size:,} bytes, more than the {most:,} that such a file can need; it was not "
                "written by this package"
            )
        return file.read()


def refuse_links(*paths: Path) -> None:
    """Refuse what leads elsewhere, or is neither a file nor a folder: writing to it would change what is not the run's.

    Raises:
        UnsafeFileError: one of them is a symbolic link, a pipe, a socket or a device.
    """
    for path in paths:
        try:
            mode = path.lstat().st_mode
        except OSError:
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise UnsafeFileError(
                f"PB-R154: {path} is a link, pipe, socket or device, through which something outside the run folder would be "
                "read or written; remove it"
            )


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # else a pipe would wait for its writer


def _kind(mode: int) -> str:
    names = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFSOCK: "a socket",
    }
    return names.get(stat.S_IFMT(mode), "something else")
