"""Figure 17: how many mutants of the package the tests notice, and how much of it they run."""

import json
import math
import subprocess
import sys
from pathlib import Path

from scoreboard.section import ROOT, Measured, Section

SAMPLE, QUICK_SAMPLE = 174, 2
QUICK_FILE = "pyro_popbias/distributions/alternating.py"  # whose own tests take a second
TARGET = 0.9
BRANCHES = 0.95


def mutation(folder: Path, quick: bool) -> Measured:
    """Try a sample of mutants, and measure the coverage of branches; the quick one takes one file and its own tests."""
    try:
        from mutation import interval, overall, score, unexplained
    except ModuleNotFoundError as error:
        return Measured(f"not measured: {error.name} is missing, see the extra 'mutation'", False)

    out = folder / ("quick" if quick else "mutants")
    covered = {} if quick else _coverage(folder / "coverage")
    arguments = ["--sample", str(QUICK_SAMPLE), "--only", QUICK_FILE] if quick else ["--sample", str(SAMPLE)]
    command = [sys.executable, "benchmarks/mutation.py", "--out", str(out), "--coverage", str(folder / "coverage")]
    subprocess.run([*command, *arguments], cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - a command of our own
    lines = (out / "results.jsonl").read_text(encoding="utf-8").splitlines()
    results = [json.loads(line) for line in lines]
    noticed, counted, same = score(results)
    low, high = interval(noticed, counted)
    share = noticed / counted if quick else overall(results)
    value = f"{noticed} of {counted} mutants noticed (95 %: {low:.1%} to {high:.1%}), {share:.1%} by places, {same} equivalent"
    branches = covered.get("covered_branches", math.inf) / covered.get("num_branches", 1)
    value += f"; {branches:.1%} of branches run" if covered else ""
    return Measured(value, share >= TARGET and branches >= BRANCHES, tuple(unexplained(results)))


def _coverage(folder: Path) -> dict[str, float]:
    """Return the totals of the tests, which `make coverage` leaves in a folder."""
    totals = folder / "totals.json"
    if not totals.exists():
        command = ["make", "coverage", f"COVERAGE={folder.absolute()}"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - a command of our own
    found: dict[str, float] = json.loads(totals.read_text(encoding="utf-8"))["totals"]
    return found


SECTIONS = [Section(17, "mutants noticed; branches run", ">= 90 %; >= 95 %", mutation, 150)]
