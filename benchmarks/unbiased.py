"""Rankings on tests that are not popularity-biased: our models under each mode of popularity, and what people use instead.

Every system has at most four settings. Settings and numbers of epochs are chosen on rows held out of the training rows, seed 0;
then five seeds are trained on all training rows and judged on the test. Intervals are 95 %, by a bootstrap over users;
differences are paired, the mean over seeds. Results are kept in a folder: a run that is cut off goes on where it was, and
`--part` shares the systems out to several processes. Without anything left to do it prints the tables.
"""

import time
from pathlib import Path
from typing import Annotated

import typer
from contest.knob import movielens, shown
from contest.problems import PROBLEMS, Problem
from contest.results import Results, as_markdown, mean_over_seeds, table
from contest.systems import SYSTEMS, System

MOVIELENS = "movielens"
FIRST = {"adressa": "inverse-logistic [population]", "coat": "product, features [population]"}


def choose(problem: Problem, name: str, system: System, results: Results) -> tuple[int, int]:
    """Return the best setting's number and its epochs; settings that were not tried yet are."""
    for number, setting in enumerate(system.settings):
        if number in results.chosen(problem.name, name):
            continue
        began = time.monotonic()
        found = system.choose(problem, setting)
        results.add_chosen(problem.name, name, number, found, time.monotonic() - began)
        print(
            f"{problem.name}: {name} {setting}: {problem.decides} {found.value:.4f} at epoch {found.epochs}", flush=True
        )
    tried = results.chosen(problem.name, name)
    best = max(tried, key=lambda number: tried[number].value)
    return best, tried[best].epochs


def run(problem: Problem, name: str, system: System, results: Results, seeds: int) -> None:
    """Do what is missing of one system."""
    setting, epochs = choose(problem, name, system, results)
    for seed in range(seeds):
        if results.has_trained(problem.name, name, seed):
            continue
        for mode, scores in system.train(problem, system.settings[setting], epochs, seed).items():
            results.add_trained(problem, name, mode, seed, scores)
        results.set_trained(problem.name, name, seed)


def show(problem: Problem, results: Results) -> None:
    """Print the table of a problem."""
    judged = {}
    for name, system in SYSTEMS.items():
        if problem.name not in system.problems:
            continue
        for mode, tables in results.trained(problem, name).items():
            title = name if mode == "score" else f"{name} [{mode}]"
            is_probability = mode in ("population", "posterior")
            judged[title] = mean_over_seeds(
                problem.judged_on_test(each, is_probability=is_probability) for each in tables
            )
    first = FIRST[problem.name]
    print(f"\n{problem.name}")
    print(as_markdown(table(problem, judged, first)) if first in judged else f"{first} is not there yet")


def main(
    data: Annotated[Path, typer.Argument(help="folder that holds adressa-macr, coat and ml-latest-small")],
    out: Annotated[Path, typer.Option(help="folder of results, which a later run goes on with")] = Path("unbiased"),
    seeds: Annotated[int, typer.Option(help="number of seeds")] = 5,
    part: Annotated[
        str, typer.Option(help="i/n: do the i-th of n parts of the systems, beside other processes")
    ] = "0/1",
    only: Annotated[str, typer.Option(help="names of problems, comma-separated")] = ",".join([*PROBLEMS, MOVIELENS]),
    systems: Annotated[str, typer.Option(help="names of systems, semicolon-separated; all by default")] = "",
) -> None:
    """Do what is missing, and print the tables."""
    results, (own, of) = Results(out), map(int, part.split("/"))
    names, wanted = only.split(","), systems.split(";") if systems else list(SYSTEMS)
    problems = [PROBLEMS[name](data) for name in names if name in PROBLEMS]
    jobs = [(problem, name) for problem in problems for name in wanted if problem.name in SYSTEMS[name].problems]
    for problem, name in jobs[own::of]:
        run(problem, name, SYSTEMS[name], results, seeds)
    for problem in problems:
        show(problem, results)
    if MOVIELENS in names:
        print(f"\n{MOVIELENS}\n{as_markdown(shown(movielens(data, out)))}")


if __name__ == "__main__":
    typer.run(main)
