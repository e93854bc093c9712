"""Figures 3 and 4: kills and full disks, at every call of the system that changes files, in every command that writes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from faults.commands import COMMANDS

from scoreboard.section import ROOT, Measured, Section, resumed

FOLDER = ROOT / "benchmarks" / "faults"
RANDOM_KILLS, SLICE = 500, 50
QUICK = {"save": 9}  # command, and every how many-th call


def library(folder: Path) -> Path | None:
    """Return the library that counts and disturbs calls, compiled into a folder; None without a compiler on Linux."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        return None
    path = folder / "inject.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(path), str(FOLDER / "inject.c"), "-ldl"]
    subprocess.run(command, check=True)  # noqa: S603 - a command of our own
    return path


def disturbed(part: str, folder: Path, preloaded: Path, *, every: int = 1) -> dict[str, Any]:
    """Return what `points.py` found of "command, fault", or of a slice of the random kills."""
    command, fault, *seed = part.split(", ")
    out = folder / "found.tmp"
    call = [sys.executable, str(FOLDER / "points.py"), command, fault, str(every), *(seed or ["0"]), str(out)]
    environment = os.environ | {"LD_PRELOAD": str(preloaded), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - likewise
    if done.returncode:
        raise RuntimeError(f"{part}: {done.stderr[-2000:]}")
    return dict(json.loads(out.read_text()))


def _measure(folder: Path, parts: dict[str, int], kind: str) -> Measured:
    preloaded = library(folder)
    if preloaded is None:
        return Measured("not measured: needs a C compiler and Linux", False)
    found = resumed(folder, list(parts), lambda part: disturbed(part, folder, preloaded, every=parts[part]))
    tried = sum(each["tried"] for each in found.values())
    wrong = [
        f"{part}, call {at}: {'; '.join(said)}" for part, each in found.items() for at, said in each["wrong"].items()
    ]
    return Measured(f"{tried - len(wrong)} of {tried} {kind}", not wrong, tuple(wrong))


def kills(folder: Path, quick: bool) -> Measured:
    """Kill each command at each call, and fits at random times; then do what a user would, and compare every bit."""
    exhaustive = {f"{each.name}, {fault}": 1 for each in COMMANDS for fault in ("kill", "kill halfway")}
    at_random = {f"fit, random kill, {number}": SLICE for number in range(RANDOM_KILLS // SLICE)}
    parts = {f"{name}, kill": every for name, every in QUICK.items()} if quick else exhaustive | at_random
    return _measure(folder, parts, "kills: all before or all after, gone on with, bit-equal, no file left over")


def full_disk(folder: Path, quick: bool) -> Measured:
    """Let each call fail: for lack of space from there on, or once for a broken disk; and some of them for a quota."""
    faults = {"ENOSPC": 1, "EIO": 1, "EDQUOT": 10}  # fault, and every how many-th call
    parts = {f"{name}, ENOSPC": every for name, every in QUICK.items()}
    if not quick:
        parts = {f"{each.name}, {fault}": every for each in COMMANDS for fault, every in faults.items()}
    return _measure(folder, parts, "failures: said in words, old files whole, nothing left over, gone on with")


SECTIONS = [
    Section(3, "kill -9", "every call of 16 commands that write, and 500 at random: all go on, bit-equal", kills, 60),
    Section(
        4,
        "full and broken disks",
        "every call of 16 commands that write, and quotas at every tenth: nothing lost or left over",
        full_disk,
        30,
    ),
]
