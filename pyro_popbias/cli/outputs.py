"""Outputs of commands: refused before any work where they would overwrite what the command reads."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pyro_popbias.errors import ConfigError


def refuse_input_as_output(output: Path | None, *inputs: Path | None) -> None:
    """Refuse an output that is an input, by any name: links and other spellings of a path lead to the same file.

    Args:
        output: the file to write; None where a table is printed.
        inputs: files that are read, and run folders; None where not given.

    Raises:
        ConfigError: the output is one of the inputs, or a file that a run folder among them needs.
    """
    if output is None:
        return
    for given in inputs:
        if given is not None and any(_same(output, file) for file in _files(given)):
            raise ConfigError(
                f"PB-C330: the output {output} would overwrite {given}, which this command reads; choose another file"
            )


def _files(given: Path) -> Iterator[Path]:
    """Yield a file, or the files that the manifest of a run folder lists; others in it, such as reports, are free."""
    yield given
    manifest = given / "manifest.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # not a finished run: the command itself says so
        yield from [manifest, *(given / name for name in json.loads(manifest.read_bytes())["sha256"])]


def _same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()
