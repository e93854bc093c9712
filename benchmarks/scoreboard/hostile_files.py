"""Figures 5, 6 and 15: damaged files, hostile files, and files of earlier versions."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from scoreboard.section import ROOT, Measured, Section, resumed, run_tests

FOLDER = ROOT / "benchmarks" / "faults"
FLIPS, SLICES = 10_002, 6


def _script(name: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """Return what a script writes into a file that is its last argument."""
    out = folder / "found.tmp"
    command = [sys.executable, str(FOLDER / name), *arguments, str(out)]
    done = subprocess.run(  # noqa: S603 - a command of our own
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    return dict(json.loads(out.read_text()))


def damage(folder: Path, quick: bool) -> Measured:
    """Flip bits and cut ends of every file of a run, a checkpoint and a stored log."""

    def measure(part: str) -> dict[str, Any]:
        lengths = "997" if quick else "1" if part == "0" else "1000000"  # every one in the first part
        return _script("damage.py", folder, str(60 if quick else FLIPS // SLICES), lengths, part)

    parts = ["0"] if quick else [str(number) for number in range(SLICES)]
    found = resumed(folder, parts, measure)
    kinds = [kind for part in found.values() for kind in part.values()]
    refused, harmless = (sum(kind[name] for kind in kinds) for name in ("refused", "harmless"))
    wrong = [line for kind in kinds for line in kind["wrong"]]
    total = refused + harmless + len(wrong)
    silent = sum(line.endswith(": silent") for line in wrong)
    said = f"{total} flips and cuts: {refused} refused, {harmless} harmless, {silent} silent, {len(wrong) - silent} uncaught"
    return Measured(said, not wrong, tuple(wrong))


def hostile(folder: Path, quick: bool) -> Measured:
    """Open run folders whose files somebody made who means harm, under an audit hook."""
    found = resumed(folder, ["kinds"], lambda _: _script("hostile.py", folder, "9" if quick else "1"))["kinds"]
    wrong = tuple(f"{kind}: {'; '.join(lines)}" for kind, lines in found.items() if lines)
    executed = sum("was executed" in line for line in wrong)
    return Measured(f"{len(found)} kinds: {executed} executions, {len(wrong)} not met in order", not wrong, wrong)


def golden(folder: Path, quick: bool) -> Measured:
    """Load the run folders and checkpoints that are kept of every schema."""
    passed, failed = run_tests("tests/storage/test_golden.py")
    said = f"{passed} of {passed + len(failed)} run folders and checkpoints of 6 schemas load or name what opens them"
    return Measured(said, not failed, tuple(failed))


SECTIONS = [
    Section(5, "corruption", "10,000 flips and every length of every file: 0 silent", damage, 30),
    Section(
        6, "hostile files", "0 executions of 50 kinds, nothing else opened, less than twice the budget", hostile, 3
    ),
    Section(15, "earlier versions", "every schema loads or gives SchemaVersionError", golden, 1),
]
