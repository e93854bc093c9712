"""What a section of the scoreboard is: a figure, its target, and the function that measures it."""

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Measured:
    """A figure as it was measured.

    Attributes:
        value: the figure in words, as the scoreboard prints it.
        reached: whether it meets its target.
        details: lines that say more, such as each case that missed.
    """

    value: str
    reached: bool
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A figure of the scoreboard.

    Attributes:
        number: of the figure.
        name: what is counted or measured.
        target: the target in words.
        measure: gets the section's own folder, which is kept between runs so that a long section goes on where it was
            cut off, and whether to be quick: a few seconds, on a part that says whether the rest can be expected.
        minutes: rough time of the whole on two cores.
    """

    number: int
    name: str
    target: str
    measure: Callable[[Path, bool], Measured]
    minutes: float


def run_tests(*arguments: str, optimized: bool = False) -> tuple[int, list[str]]:
    """Run tests with pytest, and return how many passed and the ids of those that failed.

    Args:
        arguments: of pytest, such as files and `-k`.
        optimized: whether to run under `python -O`.

    Raises:
        RuntimeError: if no test ran.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "results.xml")
        command = [sys.executable, *["-O"] * optimized, "-m", "pytest", "-q", f"--junitxml={out}", *arguments]
        done = subprocess.run(  # noqa: S603 - a command of our own
            command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
        )
        if not out.exists():
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-2000:]}")
        cases = list(ElementTree.parse(out).iter("testcase"))  # noqa: S314 - a file of our own
    failed = [f"{case.get('classname')}::{case.get('name')}" for case in cases if _has(case, "failure", "error")]
    passed = sum(not _has(case, "failure", "error", "skipped") for case in cases)
    if not passed and not failed:
        raise RuntimeError(f"{' '.join(command)} ran no test: {done.stdout[-2000:]}")
    return passed, failed


def _has(case: ElementTree.Element, *names: str) -> bool:
    return any(case.find(name) is not None for name in names)


def resumed(folder: Path, names: Sequence[str], measure: Callable[[str], object]) -> dict[str, object]:
    """Return what each part of a section measures; parts that an earlier run finished are read and not run again."""
    found = {}
    for name in names:
        path = folder / f"{name}.json"
        if not path.exists():
            result = json.dumps(measure(name))
            partial = path.with_suffix(".partial")
            partial.write_text(result, encoding="utf-8")
            partial.replace(path)
        found[name] = json.loads(path.read_text(encoding="utf-8"))
    return found
