"""Where an export is written: a new folder, or in the place of an earlier export."""

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyro_popbias.data.atomic_files import new_folder, sync_folder
from pyro_popbias.errors import RunFolderError
from pyro_popbias.storage.run_names import require_name

KIND = "pyro-popbias export"
MANIFEST = "manifest.json"
SHOWN = 3


@contextmanager
def new_export(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder, which takes the place of `folder` if the context ends well.

    Args:
        folder: where the export is to be in the end.
        overwrite: whether it may hold an export now, which goes once the new one is complete.

    Raises:
        RunFolderError: it holds what may not be replaced.
        ConfigError: its name is not a plain one, or it is a symbolic link.
        OSError: it cannot be written.
    """
    _refuse(require_name(folder), overwrite=overwrite)
    with new_folder(folder) as temporary:
        yield temporary
        _refuse(folder, overwrite=overwrite)
        if not folder.exists():
            temporary.rename(folder)
        else:
            old = folder.with_name(f"{folder.name[:40]}.old-{secrets.token_hex(4)}")
            folder.rename(old)
            temporary.rename(folder)
            shutil.rmtree(old)
    sync_folder(folder.parent)


def _refuse(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that is not empty, but for an earlier export where it may be replaced."""
    if not folder.exists():
        return
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else [folder.name]
    if not there:
        return
    if not overwrite:
        raise RunFolderError(
            f"PB-R101: {folder} exists and is not empty; choose another name, or replace an earlier export by --overwrite "
            "(overwrite=True)"
        )
    strangers = [name for name in there if name not in _of_export(folder)]
    if strangers:
        raise RunFolderError(
            f"PB-R101: {folder} exists, and --overwrite replaces exports whole: it also holds files that are not part of "
            f"an export ({len(strangers)}: {', '.join(strangers[:SHOWN])}); move them away, or choose another name"
        )


def _of_export(folder: Path) -> set[str]:
    """Return the names of the files of an export; none where the folder holds none."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["kind"] == KIND:
            return {MANIFEST, *manifest["files"]}
    return set()
