"""TOML as studies and search spaces are written in it: read with a line for every fault, and within limits.

A file is small, regular, and nested no deeper than a person would nest it; integers are those of 64 bits, as the format demands
of a reader that cannot keep larger ones. So no file can make Python run out of stack, or of digits.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from pyro_popbias.errors import ConfigError, RunFolderError

LARGEST = 1024**2  # bytes of a file
DEEPEST = 16  # levels of tables and arrays
INTEGERS = range(-(2**63), 2**63)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        ConfigError: it is not TOML (with the line), or beyond the limits.
        RunFolderError: it cannot be read, or is not a regular file.
    """
    return parse_toml(bytes_of(path), str(path))


def bytes_of(path: Path) -> bytes:
    """Return the bytes of a small regular file.

    Raises:
        ConfigError: it is too large.
        RunFolderError: it cannot be read, or is a folder, device or pipe, which might never end.
    """
    try:
        if path.exists() and not path.is_file():
            raise RunFolderError(f"PB-R022: cannot read {path}: it is not a regular file")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:  # a NUL in the name is a ValueError
        if isinstance(error, RunFolderError):
            raise
        raise RunFolderError(f"PB-R022: cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > LARGEST:
        raise ConfigError(
            f"PB-C494: {path} has more than {LARGEST // 1024:,} KiB, and a study has a few; name another file"
        )
    return content


def parse_toml(content: bytes | str, source: str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Args:
        content: the text, or its bytes.
        source: what it is called in messages.

    Raises:
        ConfigError: it is not TOML (with the line), or beyond the limits.
    """
    try:
        text = content if isinstance(content, str) else content.decode()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"PB-C089: {source} is not valid TOML: byte {error.object[error.start]:#04x} at line {line} is not UTF-8; save it "
            "as UTF-8"
        ) from error
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        why = str(error).replace("at end of document", f"at line {len(text.splitlines()) or 1}, the end")
        raise ConfigError(f"PB-C089: {source} is not valid TOML: {_cut(why)}") from error
    except RecursionError as error:
        raise too_deep(source) from error
    except ValueError as error:  # more digits than Python turns into an integer
        raise _too_large(source, text) from error
    _require_modest(found, source, text)
    return found


def _require_modest(found: dict[str, Any], source: str, text: str) -> None:
    """Refuse deep nesting and large integers, level by level: no recursion of our own."""
    level: list[Any] = [found]
    for _ in range(DEEPEST):
        inner = [each for table in level for each in (table.values() if isinstance(table, dict) else table)]
        if any(isinstance(each, int) and each not in INTEGERS for each in inner):
            raise _too_large(source, text)
        level = [each for each in inner if isinstance(each, dict | list)]
    if level:
        raise too_deep(source)


def too_deep(source: str) -> ConfigError:
    """Return the refusal of a text that nests deeper than `DEEPEST`."""
    return ConfigError(
        f"PB-C495: {source} nests tables or arrays more than {DEEPEST} levels deep; no key of a study does"
    )


def _too_large(source: str, text: str) -> ConfigError:
    long = re.search(r"(?m)^.*?[0-9A-Fa-f_]{16,}", text)
    where = f" (line {text.count(chr(10), 0, long.end()) + 1})" if long and "\n" in text else ""
    return ConfigError(f"PB-C496: {source} has an integer of more than 64 bits{where}; TOML allows -2^63 to 2^63 - 1")


def _cut(why: str) -> str:
    """Return a reason without a text of any length that it quotes."""
    return why if len(why) <= 300 else f"{why[:200]} ... {why[-60:]}"
