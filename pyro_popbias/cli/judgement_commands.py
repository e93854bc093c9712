"""The commands that judge runs: evaluate, check, compare, report."""

from pathlib import Path
from typing import Annotated

import typer

from pyro_popbias.cli.answer_commands import opened_run
from pyro_popbias.cli.choices import Candidates, popularity_mode
from pyro_popbias.cli.completion import several_guides
from pyro_popbias.cli.options import Jobs, Json, Mode, Output, Ranked, Run
from pyro_popbias.cli.outputs import emit, refuse_input_as_output, tell


def evaluate(
    run: Run,
    test: Annotated[
        Path, typer.Argument(help="File of interactions that the fit has not seen, read by the study's [data].")
    ],
    k: Annotated[list[int] | None, typer.Option("-k", help="Length of lists, 20 by default; may be repeated.")] = None,
    popularity: Mode = "population",
    candidates: Ranked = Candidates.all,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Measure ranking and popularity bias of a run on a test set.

    Ranking, probabilities and popularity bias on rows that the fit has not seen, each with a 90 % interval over users. Compare
    --popularity population with posterior to see what taking popularity out costs or gains.

    Examples:
      popbias evaluate run test.csv
      popbias evaluate run test.csv -k 10 -k 50 --popularity posterior
      popbias evaluate run random-test.csv --candidates test -o metrics.csv
    """
    from pyro_popbias.cli.fit_and_compare import read_test

    refuse_input_as_output(output, run, test)
    fitted = opened_run(run)
    rows = read_test(fitted.study, test)
    found = fitted.evaluate(
        rows, k=k or [20], popularity=popularity_mode(fitted, popularity), candidates=candidates.value
    )
    emit(found, output, as_json=as_json, notes=found.attrs["notes"])


def check(
    run: Run,
    everything: Annotated[bool, typer.Option("--all", help="Print every rule, and not only what matters.")] = False,
    as_json: Json = False,
) -> None:
    """Check a run: does the model fit, and is its posterior right?

    Draws replicated labels from the fit and compares them with the observed ones, measures how far q is from the exact posterior,
    and asks whether popularity is more than the like rate of items. Prints the verdict, what failed and what to do. The exit
    code is 6 if a rule does not hold: the run can be read, but not every figure of it can be relied on.

    Examples:
      popbias check run
      popbias check run --all
      popbias check run --json > check.json
    """
    from pyro_popbias.checks.summary import summary
    from pyro_popbias.errors import CheckFailed

    found = opened_run(run).check()
    record = {
        "run": run,
        "passed": found.passed,
        "verdict": found.verdict,
        "findings": [vars(finding) for finding in found.findings],
    }
    short = [*summary(found, name=str(run)), f"every rule: popbias check {run} --all"]
    tell(str(found).splitlines() if everything else short, record, as_json=as_json)
    if not found.passed:
        raise CheckFailed(f"PB-C140: {run}: {found.verdict}; popbias check {run} --all shows every rule")


def compare(
    paths: Annotated[list[Path], typer.Argument(help="Run folders, or one study file with --guides.")],
    guides: Annotated[
        str,
        typer.Option(help="Guides to fit the study with, as in gamma,lognormal.", autocompletion=several_guides),
    ] = "",
    test: Annotated[Path | None, typer.Option(help="File of labelled interactions that no fit has seen.")] = None,
    jobs: Jobs = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Compare runs, or one study under several guides.

    One row per fit, the best held-out log-score first, with what the fits reached, how long they took and, where they have been
    given the same test, whether differences are larger than chance.

    Examples:
      popbias compare run-gamma run-lognormal --test test.csv
      popbias compare study.toml --guides gamma,lognormal,weibull --jobs 2
    """
    from pyro_popbias.cli.fit_and_compare import declared, run_comparison
    from pyro_popbias.comparison import UNITS
    from pyro_popbias.data.table_files import file_ending

    names = [name.strip() for name in guides.split(",") if name.strip()]
    if output is not None:  # refused before hours of training and not after
        file_ending(output)
        data = declared(paths[0]).data if names and paths[0].is_file() else None
        read = [] if data is None else [data.path, data.user_features, data.item_features]
        refuse_input_as_output(output, *paths, test, *(Path(file) for file in read if file))
    table = run_comparison(paths, guides=names, test=test, jobs=jobs)
    of_fits = [f"{name}: {note}" for name, note in zip(table["name"], table["note"], strict=True) if note]
    emit(table, output, as_json=as_json, notes=[*(of_fits if output is not None else []), UNITS])  # else in the table


def report(
    run: Run,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write the report, an .html file.")],
    titles: Annotated[Path | None, typer.Option(help="File with columns item and title, to show names.")] = None,
    test: Annotated[Path | None, typer.Option(help="File of interactions to evaluate the fit on.")] = None,
    candidates: Ranked = Candidates.all,
    as_json: Json = False,
) -> None:
    """Write a report of a run: one HTML file that runs nothing.

    Pictures, checks and tables on one page, to look at in a browser and to send to others. Titles are shown as text, whatever
    they hold.

    Examples:
      popbias report run -o report.html
      popbias report run -o report.html --titles movies.csv --test test.csv
    """
    from pyro_popbias.cli.fit_and_compare import read_test

    refuse_input_as_output(output, run, titles, test)
    fitted = opened_run(run)
    rows = None if test is None else read_test(fitted.study, test)
    fitted.report(output, titles=titles, test=rows, candidates=candidates.value)
    tell([f"wrote {output}"], {"output": output}, as_json=as_json)
