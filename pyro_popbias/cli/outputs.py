"""Outputs of commands: lines, progress, and files, refused before any work where they cannot be written or are inputs."""

import json
import logging
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pyro_popbias.errors import ConfigError, RunFolderError

if TYPE_CHECKING:
    import pandas as pd


ORDERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def refuse_missing_folder(*outputs: Path | None) -> None:
    """Refuse files that could not be written once the work is done.

    Args:
        outputs: files to write; None where not given.

    Raises:
        RunFolderError: the folder of one is not there.
    """
    for output in outputs:
        if output is not None and not output.parent.is_dir():
            raise RunFolderError(f"PB-R100: cannot write {output}: there is no folder {output.parent}; make it first")


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


def say(lines: Iterator[str], remedy: str) -> None:
    """Print lines as they come; where they are interrupted, say how to go on, since typer would end without a word."""
    try:
        for line in lines:
            typer.echo(line)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end is under way: a second Ctrl-C must not cut it off
        typer.echo(f"interrupted; {remedy}", err=True)
        raise typer.Exit(130) from None


@contextmanager
def log_on_stderr() -> Iterator[None]:
    """Show progress as lines on standard error meanwhile, unless it is a terminal, which has a bar."""
    log, handler = logging.getLogger("pyro_popbias"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    level, shows = log.level, not sys.stderr.isatty() and not log.handlers
    log.setLevel(logging.INFO)
    if shows:
        log.addHandler(handler)
    try:
        yield
    finally:  # the stream may be closed when the log is next written to
        log.removeHandler(handler)
        log.setLevel(level)


def cannot_write(error: OSError) -> RunFolderError:
    """Return an error of the system, such as that of a full disk under standard output or a log, in words."""
    from pyro_popbias.data.atomic_files import in_words

    if not error.filename:
        return RunFolderError(f"PB-R159: cannot write standard output, or a file: {error.strerror or error}")
    place = Path(str(error.filename))
    return RunFolderError(f"PB-R159: cannot read or write {place}: {in_words(error, 0, place.parent)}")


def visible(text: str) -> str:
    """Return a text whose control characters and marks of direction, which a terminal would obey, are replaced."""
    return ORDERS.sub("\ufffd", text)


def emit(frame: "pd.DataFrame", output: Path | None, *, most: int | None = None) -> None:
    """Write a table, or print it.

    Args:
        frame: the table.
        output: its file; None prints all rows and columns, or the first `most` rows and how many more there are.
        most: rows to print; None for all.
    """
    if output is None:
        typer.echo(visible(frame.head(len(frame) if most is None else most).to_string(index=False, max_rows=None)))
        if most is not None and len(frame) > most:
            typer.echo(f"... {len(frame) - most} more of {len(frame)} rows; write them all with -o FILE")
    else:
        from pyro_popbias.data.table_files import write_table

        write_table(frame, output)
        typer.echo(f"{len(frame)} rows -> {output}")
