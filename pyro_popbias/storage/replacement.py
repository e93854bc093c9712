"""Overwriting a run folder: a new run is made beside the old one, and takes its place when it is complete.

A run folder is never merged with another one, and what is not of a run is never deleted: a folder that holds anything else
is refused before any work. Until the new run is complete the old one is as it was; a fit that was killed goes on in the
folder beside it. A process that is killed between the two renames of the exchange leaves both runs whole, under the names
that they have then.
"""

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from pyro_popbias.data.atomic_files import TEMPORARY, in_words, sync_folder
from pyro_popbias.errors import RunFolderError
from pyro_popbias.storage.folder_state import CHECKPOINTS, LOCK, LOG, MANIFEST, Holds, held_by
from pyro_popbias.storage.lock import locked
from pyro_popbias.storage.run_names import require_name

NEW, OLD = ".new", ".old-"
ADDED = ("posterior.nc", "report.html")  # that a run folder may hold beside what its manifest lists
SHOWN = 3


@contextmanager
def _as_it_is(folder: Path) -> Iterator[Path]:
    yield folder


def new_place(folder: Path, *, overwrite: bool) -> AbstractContextManager[Path]:
    """Return a context of the folder in which a run is to be written.

    Args:
        folder: where the run is to be in the end.
        overwrite: whether it may hold a run now, which the new one replaces at the end of the context.

    Raises:
        RunFolderError: it holds what may not be replaced.
        ConfigError: its name is not a plain one, or it is a symbolic link.
    """
    if overwrite and require_name(folder).exists():
        refuse_strangers(folder)
        return _replacing(folder)
    return _as_it_is(folder)


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Yield a folder beside one that holds a run, and put it in its place if the context ends well."""
    new = folder.with_name(f"{folder.name}{NEW}")
    yield require_name(new)
    old = folder.with_name(f"{folder.name}{OLD}{secrets.token_hex(4)}")
    with locked(folder):  # nobody fits in it
        refuse_strangers(folder)
        try:
            folder.rename(old)
            new.rename(folder)
            sync_folder(folder.parent)
            shutil.rmtree(old)
        except OSError as error:
            raise RunFolderError(
                f"PB-R100: cannot replace {folder}: {in_words(error, 0, folder.parent)}; the new run is "
                f"{new if new.exists() else folder}, the old one {old if old.exists() else folder}"
            ) from error


def refuse_strangers(folder: Path) -> None:
    """Refuse to replace a folder that holds anything but a run of this package.

    Raises:
        RunFolderError: it holds other files, or no run.
    """
    if held_by(folder) is Holds.OTHER:
        strangers = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else [folder.name]
    else:
        strangers = sorted(_strangers(folder))
    if strangers:
        raise RunFolderError(
            f"PB-R101: {folder} exists, and --overwrite replaces run folders whole: it also holds files that are not "
            f"part of a run ({len(strangers)}: {', '.join(strangers[:SHOWN])}); move them away, or choose another name"
        )


def _strangers(folder: Path) -> Iterator[str]:
    """Yield what in a folder does not belong to a run."""
    known = {LOCK, LOG, MANIFEST, *ADDED}
    with suppress(OSError, ValueError, KeyError, TypeError):  # an unfinished run has no manifest
        known |= set(json.loads((folder / MANIFEST).read_bytes())["sha256"])
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        of_run = (
            name in known
            or name == CHECKPOINTS
            or name.startswith(f"{CHECKPOINTS}/")
            or path.name.startswith(TEMPORARY)
        )
        if not of_run or path.is_symlink():
            yield name
