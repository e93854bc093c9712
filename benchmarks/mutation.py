"""How many mutants of the package do its tests notice? A random sample of those that cosmic-ray makes, folder by folder.

A place of the source is drawn at random, and one of its changes; annotations are left out. Run are the tests that ran the
line when coverage was measured (`make coverage` leaves that in build/coverage), those of the mutant's own file first, up
to a minute of them, slow ones not among them. Every result is a line of a file in `--out`, so that a run that is cut off
goes on; at the end the tests that killed a mutant are run without one, and kills by those that fail then do not count.

A mutant that computes the same as the source is written, with the reason, into mutants/verdicts.csv, and does not count
against the tests; so are others that were looked at and left.
"""

import csv
import json
import math
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from mutants.sites import FOLDERS, ROOT, Mutant, mutants
from mutants.tests_of import Choice, Coverage
from mutants.trial import changed, copied_package, tried, warm
from turns import print_command

VERDICTS = Path(__file__).parent / "mutants" / "verdicts.csv"
EQUIVALENT = "equivalent"

Result = dict[str, Any]


def sample(
    out: Path,
    number: int,
    *,
    coverage: Path | None,
    folders: Iterable[str] = tuple(FOLDERS),
    only: str = "",
    minutes: float = math.inf,
    seed: int = 0,
) -> list[Result]:
    """Try mutants until there are results for so many, or the time is up; return the results there are.

    Args:
        out: folder of the results, which are added to those of earlier runs.
        number: of mutants, over all folders.
        coverage: folder with what each test runs; None to run the test files that bear the mutated file's name.
        folders: those to try; the sample is of all.
        only: how the names of the files begin that the sample is of.
        minutes: when to stop.
        seed: of the sample.
    """
    out.mkdir(parents=True, exist_ok=True)
    kept, deadline = out / "results.jsonl", time.monotonic() + 60 * minutes
    known = _read(kept)
    chosen = [mutant for mutant in mutants(seed, only)[:number] if mutant.folder in folders]
    missing = [mutant for mutant in chosen if mutant.key not in known]
    if missing:
        warm()
        tree, tests = copied_package(out / "package"), Coverage.read(coverage)
        with kept.open("a", encoding="utf-8") as file:
            for mutant in missing:
                if time.monotonic() > deadline:
                    break
                found = _tried(mutant, tree, tests, out)
                file.write(json.dumps(found) + "\n")
                file.flush()
                known[mutant.key] = found
        _refuse_false_kills(kept, known, tree, out)
    return [known[mutant.key] for mutant in chosen if mutant.key in known]


def _tried(mutant: Mutant, tree: Path, tests: Coverage, out: Path) -> Result:
    before, after = mutant.difference
    facts = {"key": mutant.key, "folder": mutant.folder, "file": mutant.file, "line": mutant.place[0]}
    with changed(tree, mutant):
        result = tried(tree, tests.choose(mutant), out / "last.log")
    return facts | {"before": before, "after": after} | result


def _refuse_false_kills(kept: Path, known: dict[str, Result], tree: Path, out: Path) -> None:
    """Run the tests that killed mutants on the package as it is; write down those that fail, whose kills are false."""
    killers = {each["by"] for each in known.values() if each["verdict"] == "killed" and "::" in each["by"]}
    passed = out / "passed.txt"
    left = killers - set(passed.read_text(encoding="utf-8").splitlines() if passed.exists() else [])
    while left:
        files = tuple(sorted({test.partition("::")[0] for test in left}))
        found = tried(tree, Choice(files, tuple(sorted(left)), None, 600.0), out / "last.log")
        if found["verdict"] != "killed":
            break
        left -= {found["by"]}
        for each in known.values():
            if each["by"] == found["by"]:
                each |= {"verdict": "false kill"}
    passed.write_text("\n".join(sorted(killers)), encoding="utf-8")
    kept.write_text("".join(json.dumps(each) + "\n" for each in known.values()), encoding="utf-8")


def _read(path: Path) -> dict[str, Result]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {each["key"]: each for each in map(json.loads, lines)}


def verdicts() -> dict[tuple[str, str, str], str]:
    """Return what was found about mutants that no test notices, by file and line before and after."""
    with VERDICTS.open(encoding="utf-8", newline="") as file:
        return {(row["file"], row["before"], row["after"]): row["verdict"] for row in csv.DictReader(file)}


def score(results: Iterable[Result]) -> tuple[int, int, int]:
    """Return how many mutants were noticed, how many count, and how many were set aside as equivalent."""
    judged = verdicts()
    counted = [each for each in results if each["verdict"] != "false kill"]
    noticed = sum(each["verdict"] in ("killed", "hung") for each in counted)
    alive = [each for each in counted if each["verdict"] not in ("killed", "hung")]
    same = sum(judged.get(_name(each), "").startswith(EQUIVALENT) for each in alive)
    return noticed, len(counted) - same, same


def interval(noticed: int, counted: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    z, share = 1.96, noticed / counted
    middle = (share + z * z / (2 * counted)) / (1 + z * z / counted)
    half = z / (1 + z * z / counted) * math.sqrt(share * (1 - share) / counted + z * z / (4 * counted * counted))
    return middle - half, middle + half


def _name(result: Result) -> tuple[str, str, str]:
    return result["file"], result["before"], result["after"]


def overall(results: list[Result]) -> float:
    """Return the share noticed, each folder weighted by the number of its places."""
    places = Counter(mutant.folder for mutant in mutants())
    sizes = {folder: places[folder] for folder in {each["folder"] for each in results}}
    shares = {folder: score(each for each in results if each["folder"] == folder)[:2] for folder in sizes}
    return sum(sizes[f] * noticed / counted for f, (noticed, counted) in shares.items() if counted) / sum(
        sizes.values()
    )


def print_score(results: list[Result]) -> None:
    """Print the score of each folder, and of all."""
    typer.echo(
        "| folder | mutants | noticed | share | 95 % interval | equivalent |\n| --- | --- | --- | --- | --- | --- |"
    )
    for folder in (*FOLDERS, "all"):
        noticed, counted, same = score(each for each in results if folder in (each["folder"], "all"))
        if counted:
            low, high = interval(noticed, counted)
            typer.echo(
                f"| {folder} | {counted} | {noticed} | {noticed / counted:.3f} | {low:.3f}-{high:.3f} | {same} |"
            )
    typer.echo(f"\nweighted by the places of each folder: {overall(results):.3f}\n")


def unexplained(results: list[Result]) -> list[str]:
    """Return the mutants that no test noticed and nobody has looked at."""
    judged = verdicts()
    alive = [each for each in results if each["verdict"] in ("survived", "no test") and _name(each) not in judged]
    return [f"{each['file']}:{each['line']}: {each['before']} -> {each['after']}" for each in alive]


def print_survivors(results: list[Result]) -> None:
    """Print the mutants that no test noticed, with what was found about each."""
    judged = verdicts()
    for each in results:
        if each["verdict"] not in ("killed", "hung"):
            said = judged.get(_name(each), "not looked at")
            typer.echo(f"{each['file']}:{each['line']} ({each['verdict']}; {said})")
            typer.echo(f"  - {each['before']}\n  + {each['after']}")


def main(
    out: Annotated[Path, typer.Option(help="Folder of the results; a run goes on from them.")],
    sample_size: Annotated[int, typer.Option("--sample", help="Number of mutants.")] = 200,
    coverage: Annotated[Path, typer.Option(help="What each test runs.")] = ROOT / "build" / "coverage",
    folders: Annotated[str, typer.Option(help="Folders to try, as in data,storage.")] = ",".join(FOLDERS),
    only: Annotated[str, typer.Option(help="How the names of the files begin, as in pyro_popbias/data/la.")] = "",
    minutes: Annotated[float, typer.Option(help="When to stop.")] = math.inf,
    again: Annotated[bool, typer.Option("--again", help="Try those once more that no test noticed.")] = False,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
) -> None:
    """Try a sample of mutants; print the score of each folder, and the mutants that no test noticed."""
    print_command()
    if again:
        kept = out / "results.jsonl"
        lines = [json.dumps(each) for each in _read(kept).values() if each["verdict"] in ("killed", "hung")]
        kept.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    own = folders.split(",")
    results = sample(out, sample_size, coverage=coverage, folders=own, only=only, minutes=minutes, seed=seed)
    print_score(results)
    print_survivors(results)


if __name__ == "__main__":
    typer.run(main)
