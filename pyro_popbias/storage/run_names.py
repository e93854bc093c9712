"""Names of folders that are written: such that every system, shell and archive takes them for one plain folder."""

import re
from pathlib import Path

from pyro_popbias.errors import ConfigError, shown

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices of Windows, whatever the ending


def require_name(folder: str | Path) -> Path:
    """Return the path of a folder to write, if its last part is a plain name.

    Args:
        folder: any path; only its last part has to be a name.

    Raises:
        ConfigError: it is not a name, or a symbolic link, through which another folder would be written.
    """
    path = Path(folder)
    last = path.name
    if not NAME.fullmatch(last) or last.endswith("."):
        raise ConfigError(
            f"PB-C497: {shown(last or str(path))} cannot name a folder: use 1 to 64 of a-z, 0-9, '.', '_' and '-', the first a "
            "letter or digit and the last no '.'"
        )
    if RESERVED.fullmatch(last):
        raise ConfigError(f"PB-C497: {last!r} cannot name a folder, as it is a device of Windows; choose another name")
    if "\0" in str(path):
        raise ConfigError(f"PB-C497: {shown(str(path))} cannot be a path, as it holds a NUL")
    if path.is_symlink():
        raise ConfigError(
            f"PB-C498: {path} is a symbolic link, through which {path.resolve()} would be written; name that folder itself"
        )
    return path
