"""Outputs of commands: lines or JSON, progress, and files, refused before any work where they cannot be written or are inputs.

Every command says what it has found twice: in lines for a person, and as a record for a program. `emit` (a table), `tell`
(lines) and `say` (lines as they come) print one of the two: with `as_json`, the option `--json`, standard output holds one
JSON value and nothing else. Ids stay as they are, numbers that are not finite are null, and what is not ASCII is escaped.
"""

import json
import logging
import math
import re
import signal
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pyro_popbias.errors import ConfigError, RunFolderError

if TYPE_CHECKING:
    import pandas as pd


Record = Mapping[str, Any]  # what a command has found, by name
Said = Generator[str, None, Record]  # lines as they come, and the record of them in the end

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


def refuse_inside(output: Path | None, run: Path) -> None:
    """Refuse an output in a run folder, which holds nothing but its own files.

    Args:
        output: a file or folder to write; None where not given.
        run: the run folder.

    Raises:
        ConfigError: the output lies in it.
    """
    if output is not None and run.resolve() in output.resolve().parents:
        raise ConfigError(f"PB-C330: {output} is inside the run folder {run}; choose a place beside it")


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


def say(lines: Said, remedy: str = "start again", *, as_json: bool) -> Record:
    """Print lines as they come, or their record; where they are interrupted, say how to go on, as typer would not.

    Args:
        lines: of a command.
        remedy: how to go on.
        as_json: whether to print the record in place of the lines.

    Returns:
        The record.
    """
    try:
        while True:
            line = next(lines)
            if not as_json:
                typer.echo(line)
    except StopIteration as end:
        record: Record = end.value or {}
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end is under way: a second Ctrl-C must not cut it off
        typer.echo(f"interrupted; {remedy}", err=True)
        raise typer.Exit(130) from None
    if as_json and record:  # a process that takes part in the fit of another one has none
        print_json(record)
    return record


def tell(lines: Iterable[str], record: Record, *, as_json: bool) -> None:
    """Print lines, or their record."""
    if as_json:
        print_json(record)
        return
    for line in lines:
        typer.echo(visible(line))


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


def emit(
    frame: "pd.DataFrame",
    output: Path | None,
    *,
    as_json: bool,
    most: int | None = None,
    notes: Sequence[str] | None = None,
) -> None:
    """Write a table, or print it.

    Args:
        frame: the table.
        output: its file; None prints all rows and columns, or the first `most` rows and how many more there are.
        as_json: whether to print JSON: an array of all rows as objects; with notes an object of rows and notes; where the
            table is written, an object of output and the number of rows.
        most: rows to print for a person; None for all.
        notes: what to say besides; None where the command has nothing to say.
    """
    if output is not None:
        from pyro_popbias.data.table_files import write_table

        write_table(frame, output)
    said = {} if notes is None else {"notes": list(notes)}
    if as_json:
        if output is None and notes is None:
            print_rows(frame)
        else:
            rows = {"rows": records(frame)} if output is None else {"output": output, "rows": len(frame)}
            print_json({**rows, **said})
        return
    if output is not None:
        typer.echo(f"{len(frame)} rows -> {output}")
    else:
        typer.echo(visible(frame.head(len(frame) if most is None else most).to_string(index=False, max_rows=None)))
        if most is not None and len(frame) > most:
            typer.echo(f"... {len(frame) - most} more of {len(frame)} rows; write them all with -o FILE")
    for note in notes or ():
        typer.echo(visible(note))


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return the rows of a table as they stand in JSON."""
    names = [str(name) for name in frame.columns]
    return [plain(dict(zip(names, row, strict=True))) for row in frame.itertuples(index=False, name=None)]


def print_rows(frame: "pd.DataFrame") -> None:
    """Print a table as an array of objects, a line each."""
    names = [str(name) for name in frame.columns]
    opening = "["
    for row in frame.itertuples(index=False, name=None):
        sys.stdout.write(f"{opening}{json.dumps(plain(dict(zip(names, row, strict=True))), allow_nan=False)}")
        opening = ",\n "
    typer.echo("[]" if opening == "[" else "]")


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(plain(value), indent=1, allow_nan=False))


def plain(value: Any) -> Any:
    """Return a value in the types of JSON: numbers that are not finite, and missing values, are None.

    Args:
        value: text, numbers of Python or NumPy, paths, and mappings, sequences and tables of these.
    """
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):  # as NumPy's of 64 bits are
        return float(value) if math.isfinite(value) else None
    import numpy as np
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        return records(value)
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if value is pd.NA or value is pd.NaT else str(value)
