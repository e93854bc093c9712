"""Give each bad input to the package, and write what came back: `python -O benchmarks/bad_inputs/evaluate.py OUT`."""

import contextlib
import copy
import importlib
import io
import json
import os
import signal
import sys
import tempfile
import traceback
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from bad_inputs.row import Row

MOST_SECONDS = 120  # of a row, after which it counts as one that hangs
TABLES = ("frames", "ids", "labels", "config", "run_folders")


@dataclass(frozen=True)
class Outcome:
    """What a call of the package and its command line said, and what they changed.

    Attributes:
        classes: names of the classes of the error or warning, the most special first.
        message: of the error, or of the warnings, one a line.
        lost: files that were there before and are gone or differ, files that a refused input left, and inputs changed.
        exit_code: of the command line.
        printed: on standard error by the command line.
    """

    classes: tuple[str, ...] = ()
    message: str = ""
    lost: tuple[str, ...] = ()
    exit_code: int | None = None
    printed: str = ""


def all_rows() -> list[Row]:
    """Return the rows of all tables in the order of their numbers."""
    found = [row for table in TABLES for row in importlib.import_module(f"bad_inputs.{table}").ROWS]
    return sorted(found, key=lambda row: row.number)


def evaluate(row: Row, folder: Path) -> Outcome:
    """Return what a row does in a new folder, given from Python and on the command line."""
    said: dict[str, Any] = {}
    lost: list[str] = []
    with _no_hang():
        if row.call is not None:
            lost += _call(row, _new(folder / "python"), said)
        if row.arguments is not None:
            lost += _command(row, _new(folder / "command"), said)
    return Outcome(**said, lost=tuple(lost))


@contextlib.contextmanager
def _no_hang():
    """Raise a TimeoutError, which is no answer of the package, where a row takes too long."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"no answer in {MOST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _call(row: Row, folder: Path, said: dict[str, Any]) -> list[str]:
    given = row.prepare(folder)
    before, kept = _contents(folder), copy.deepcopy(given) if isinstance(given, pd.DataFrame) else None
    with warnings.catch_warnings(record=True) as caught, _inside(folder):
        warnings.simplefilter("always")
        try:
            row.call(folder, given)
        except Exception as error:
            said["classes"], said["message"] = _classes(type(error)), str(error)
            refused = True
        else:
            refused = False
            ours = [each for each in caught if "PB-" in str(each.message)]
            if ours:
                said["classes"] = _classes(ours[0].category)
                said["message"] = "\n".join(str(each.message) for each in ours)
    lost = _lost(before, _contents(folder), refused=refused)
    return lost if kept is None or kept.equals(given) else [*lost, "the frame"]


def _command(row: Row, folder: Path, said: dict[str, Any]) -> list[str]:
    from pyro_popbias.cli.app import main

    row.prepare(folder)
    before, arguments, out, error = _contents(folder), sys.argv, io.StringIO(), io.StringIO()
    shown = warnings.formatwarning
    try:
        sys.argv = ["popbias", *row.arguments]
        with (
            _inside(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(error),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("always")
            warnings.showwarning = _show  # a test would keep them from being printed
            try:
                main()
            except SystemExit as end:
                said["exit_code"] = int(end.code or 0)
            except BaseException:
                error.write(traceback.format_exc())
                said["exit_code"] = 1
    finally:
        sys.argv, warnings.formatwarning = arguments, shown
    said["printed"] = error.getvalue()
    return _lost(before, _contents(folder), refused=bool(said["exit_code"]))


def _show(message, category, filename, lineno, file=None, line=None) -> None:
    """Print a warning as Python does."""
    (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))


def _classes(found: type) -> tuple[str, ...]:
    return tuple(each.__name__ for each in found.__mro__ if each is not object)


@contextlib.contextmanager
def _inside(folder: Path):
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)
    }


def _lost(before: dict[str, bytes], after: dict[str, bytes], *, refused: bool) -> list[str]:
    changed = [name for name, content in before.items() if after.get(name) != content]
    return changed + ([name for name in after if name not in before] if refused else [])


def main() -> None:
    """Write the outcomes of all rows, by name, as JSON."""
    rows = all_rows()
    with tempfile.TemporaryDirectory() as folder:
        found = {row.name: asdict(evaluate(row, Path(folder, f"{place}"))) for place, row in enumerate(rows)}
    Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
