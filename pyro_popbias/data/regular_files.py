"""Reading of files that others may have made: regular ones only, never a link, a pipe or a device, and none too large."""

import os
import stat
from pathlib import Path

from pyro_popbias.errors import UnsafeFileError


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
                f"PB-R152: {path} is not a regular file but a folder, pipe, socket or device; restore it from a copy"
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
