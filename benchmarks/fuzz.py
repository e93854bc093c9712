"""Throw bytes at everything that the package reads from a disk: nothing may come out but success and its own errors.

Targets take turns: hypothesis makes contents by a grammar in one half of a turn, and atheris, where it is installed
(`pip install -e '.[fuzz]'`), changes those of a corpus in the other, guided by which lines of the package they reach.
An input that takes more than ten seconds or six gigabytes is a finding too. Findings and the corpus are kept in `--out`,
one finding for each place where an exception comes from, and a run that is cut off goes on.

`--hours 24` is the long run. `python -m fuzzing.minimise OUT` in this folder makes findings small and adds them to the corpus
that is kept with the tests, which replay it.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from turns import print_command

HERE = Path(__file__).parent
SEEDS = HERE.parent / "tests" / "corpus"  # a folder for each target
TURN = 60  # seconds of one target
ENGINES = ("hypothesis", "atheris")
GRACE = 90  # seconds for a process to begin and to end


def main(
    out: Annotated[Path, typer.Option(help="Folder of findings and corpus; a run goes on from it.")],
    hours: Annotated[float, typer.Option(help="Of all targets together, earlier runs included.")] = 1.0,
    target: Annotated[str, typer.Option(help="Names of targets, as in csv,study; all if omitted.")] = "",
    corpus: Annotated[Path, typer.Option(help="Contents to begin with, in a folder for each target.")] = SEEDS,
    turn: Annotated[float, typer.Option(help="Seconds of one target at a time.")] = TURN,
) -> None:
    """Fuzz until the time is up; print what was thrown at each target; exit code 1 where there are findings."""
    from fuzzing.targets import TARGETS

    print_command()
    names = target.split(",") if target else list(TARGETS)
    run_turns(out, names, 3600 * hours, corpus=corpus, turn=turn)
    raise typer.Exit(print_totals(out))


def run_turns(out: Path, names: list[str], seconds: float, *, corpus: Path, turn: float) -> None:
    """Let targets take turns until the log of the run says that the time is up."""
    out.mkdir(parents=True, exist_ok=True)
    log = out / "turns.jsonl"
    engines = ENGINES[: 1 + has_atheris()]
    while (done := sum(each["seconds"] for each in turns_of(out))) < seconds:
        number = len(turns_of(out))
        name, engine = names[number // len(engines) % len(names)], engines[number % len(engines)]
        own = min(turn / len(engines), seconds - done)
        began = time.monotonic()
        arguments = map(str, (name, engine, own, number, out.absolute(), corpus.absolute() / name))
        command = [sys.executable, "-m", "fuzzing.worker", *arguments]
        code, tail = _ended(command, own + GRACE)
        counted = out / "inputs" / f"{number}.json"
        facts = {"target": name, "engine": engine, "seconds": time.monotonic() - began, "code": code}
        facts["inputs"] = json.loads(counted.read_text(encoding="utf-8")) if counted.exists() else 0
        if code:
            _keep_what_killed(out, name, number, tail)
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")


def _ended(command: list[str], seconds: float) -> tuple[int, str]:
    """Run a turn in a process of its own; return its exit code and the end of what it said."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a folder of our own is made in it
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory) as folder:
        own = os.environ | {"TMPDIR": folder, "OMP_NUM_THREADS": "1"}
        try:
            ended = subprocess.run(  # noqa: S603 - a command of our own
                command, cwd=HERE, env=own, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return -1, "does not end"
    return ended.returncode, ended.stderr[-2000:]


def _keep_what_killed(out: Path, name: str, number: int, tail: str) -> None:
    """Keep the input at which a process ended, or did not end."""
    current, folder = out / f"{name}.current", out / "findings" / name
    folder.mkdir(parents=True, exist_ok=True)
    if current.exists():
        current.rename(folder / f"process-{number}")
    (folder / f"process-{number}.txt").write_text(f"the process of turn {number} died\n\n{tail}", encoding="utf-8")


def has_atheris() -> bool:
    """Return whether atheris is installed."""
    from importlib.util import find_spec

    return find_spec("atheris") is not None


def turns_of(out: Path) -> list[dict[str, float | str]]:
    """Return what the turns of a run were, in order."""
    log = out / "turns.jsonl"
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []


def findings_of(out: Path) -> list[Path]:
    """Return the findings of a run: the texts beside the inputs."""
    return sorted((out / "findings").glob("*/*.txt"))


def print_totals(out: Path) -> bool:
    """Print the turns of each target and the findings; return whether there are any."""
    typer.echo("| target | engine | seconds | inputs | findings |\n| --- | --- | --- | --- | --- |")
    turns, total = turns_of(out), {"seconds": 0.0, "inputs": 0.0}
    for name in dict.fromkeys(each["target"] for each in turns):
        for engine in ENGINES:
            own = [each for each in turns if (each["target"], each["engine"]) == (name, engine)]
            sums = {key: math.fsum(float(each[key]) for each in own) for key in total}
            found = len(list((out / "findings" / str(name)).glob("*.txt"))) if engine == ENGINES[0] else ""
            typer.echo(f"| {name} | {engine} | {sums['seconds']:.0f} | {sums['inputs']:.0f} | {found} |")
            total = {key: total[key] + sums[key] for key in total}
    findings = findings_of(out)
    typer.echo(f"| all | | {total['seconds']:.0f} | {total['inputs']:.0f} | {len(findings)} |\n")
    for path in findings:
        typer.echo(f"{path.relative_to(out)}: {path.read_text(encoding='utf-8').splitlines()[0]}")
    return bool(findings)


if __name__ == "__main__":
    typer.run(main)
