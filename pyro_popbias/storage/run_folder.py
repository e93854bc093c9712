"""Run folders: a finished run is written whole, with a manifest, or not at all.

Tables are Parquet or CSV, tensors safetensors, declarations TOML and JSON: opening a folder runs no code. The manifest
is written last and holds the SHA-256 of every other file; a folder without one is not a finished run.
"""

import json
import platform
from pathlib import Path

import pandas as pd
import pyro
import torch

from pyro_popbias.data.atomic_files import in_words, new_folder, sha256, sync_folder, write_atomically
from pyro_popbias.errors import RunFolderError
from pyro_popbias.storage.folder_state import LOCK, refuse_full
from pyro_popbias.storage.run_files import files_of
from pyro_popbias.storage.run_names import require_name
from pyro_popbias.storage.schema import SCHEMA
from pyro_popbias.trained import Trained
from pyro_popbias.version import __version__


def save(fit: Trained, folder: Path, *, data: bool = True) -> None:
    """Write a fit to a new folder: whole, or not at all.

    Args:
        fit: the fit.
        folder: a path that does not exist, or an empty folder.
        data: whether the interactions are written too.

    Raises:
        RunFolderError: the folder is not empty, or cannot be written.
        ConfigError: its name is not a plain one, or it is a symbolic link.
    """
    refuse_full(require_name(folder))
    temporary = folder
    try:
        with new_folder(folder) as temporary:
            write_run(fit, temporary, data=data)
            if folder.exists():
                (folder / LOCK).unlink(missing_ok=True)
                folder.rmdir()
            temporary.rename(folder)
        sync_folder(folder.parent)
    except RunFolderError as error:  # names a file of the temporary folder
        raise RunFolderError(str(error).replace(str(temporary), str(folder))) from error
    except OSError as error:
        raise RunFolderError(f"PB-R100: cannot write {folder}: {in_words(error, 0, folder.parent)}") from error


def write_run(fit: Trained, folder: Path, *, data: bool = True) -> None:
    """Write the files of a finished run, the manifest last."""
    files = files_of(fit, data=data)
    for name, content in files.items():
        write_atomically(folder / name, content)
    manifest = {
        "schema": SCHEMA,
        "versions": versions(),
        "sha256": {name: sha256(content) for name, content in files.items()},
    }
    write_atomically(folder / "manifest.json", json.dumps(manifest, indent=1).encode())


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "pyro_popbias": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pyro": pyro.__version__,
        "pandas": pd.__version__,
        "threads": str(torch.get_num_threads()),
    }
