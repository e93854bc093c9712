"""The command line. Each command imports what it needs, so that --help is quick."""

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyro_popbias.cli.calibrate import calibrate
from pyro_popbias.cli.choices import Candidates, Unseen, part_of, popularity_mode
from pyro_popbias.cli.outputs import cannot_write, emit, log_on_stderr, refuse_input_as_output, say, visible

if TYPE_CHECKING:
    from pyro_popbias.fitted import Fit


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 120},
    rich_markup_mode=None,  # what draws boxes takes longer to import than all the rest
    help="Bayesian treatment of popularity bias in recommender systems.",
)

TABLE_FILE = "a .csv, .csv.gz or .parquet file"
PRINTED = 40  # rows that a person looks through

Run = Annotated[Path, typer.Argument(help="Run folder that `popbias fit` wrote.")]
Declared = Annotated[Path, typer.Argument(help="Study file, such as `popbias init` writes.")]
Mode = Annotated[
    str,
    typer.Option(
        help="Popularity to integrate over: population, prior, posterior or none; or a number, or forecast=0.5, to set it to."
    ),
]
Calibrated = Annotated[
    bool, typer.Option("--calibrated", help="Where negatives were sampled: probabilities over the whole catalogue.")
]
Ranked = Annotated[
    Candidates, typer.Option(help="Rank all items without those already seen, or the user's test rows only.")
]
Output = Annotated[Path, typer.Option("-o", "--output", help=f"Where to write the table, {TABLE_FILE}.")]
OptionalOutput = Annotated[
    Path | None, typer.Option("-o", "--output", help=f"Write the table to {TABLE_FILE} instead of printing it.")
]
Jobs = Annotated[int | None, typer.Option(help="Processes at once, one thread each; without it, none but this one.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report, the figure and the tables.")] = Path("demo-run"),
) -> None:
    """Simulate interactions with a known truth, fit them, check the fit and compare it with the truth."""
    from pyro_popbias.cli.demo import run_demo

    for line in run_demo(out):
        typer.echo(line)


@app.command()
def init(
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write the study.")] = Path("study.toml"),
    table: Annotated[Path | None, typer.Option("--from", help=f"Interactions to look at, {TABLE_FILE}.")] = None,
    user: Annotated[str | None, typer.Option(help="Its column of users; guessed by name if left out.")] = None,
    item: Annotated[str | None, typer.Option(help="Its column of items, likewise.")] = None,
    label: Annotated[str | None, typer.Option(help="Its column of labels or ratings, likewise.")] = None,
    time: Annotated[str | None, typer.Option(help="Its column of times, likewise.")] = None,
) -> None:
    """Write a commented study file to start from; with --from, for a table, with what goes with its kind of data."""
    from pyro_popbias.cli.new_study import write_study

    for line in write_study(output, table, {"user": user, "item": item, "label": label, "time": time}):
        typer.echo(line)


@app.command()
def fit(
    study: Declared,
    out: Annotated[Path, typer.Option(help="Run folder to write; new or empty unless resumed.")],
    data: Annotated[Path | None, typer.Option(help="File of interactions in place of the study's.")] = None,
    model: Annotated[str | None, typer.Option(help="Model in place of the study's, such as additive.")] = None,
    guide: Annotated[str | None, typer.Option(help="Guide in place of the study's, such as lognormal.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set one key of the study, as in training.epochs=5; may be repeated."),
    ] = None,
    restarts: Annotated[int, typer.Option(help="Number of independent fits: the best is kept, with the others.")] = 1,
    jobs: Jobs = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint of the run.")] = False,
    no_data: Annotated[bool, typer.Option("--no-data", help="Do not copy the interactions into the run.")] = False,
) -> None:
    """Fit a study to its interactions and write a run folder."""
    from pyro_popbias.cli.fit_and_compare import run_fit

    lines = run_fit(
        study,
        out,
        data=data,
        model=model,
        guide=guide,
        overrides=assignments or [],
        restarts=restarts,
        jobs=jobs,
        resume=resume,
        keep_data=not no_data,
    )
    say(lines, "continue with --resume")


@app.command()
def update(
    run: Run,
    data: Annotated[Path, typer.Option(help=f"Interactions of the next period, {TABLE_FILE}.")],
    out: Annotated[Path, typer.Option(help="Run folder to write; new or empty.")],
    drift: Annotated[float | None, typer.Option(help="Step of log popularity (sd) in place of the run's own.")] = None,
    no_data: Annotated[bool, typer.Option("--no-data", help="Do not copy the interactions into the run.")] = False,
) -> None:
    """Go on with a run on new interactions, without reading the old ones, and write a run folder."""
    from pyro_popbias.cli.fit_and_compare import run_update

    say(run_update(run, out, data=data, drift=drift, keep_data=not no_data), "start again")


def _load(run: Path) -> "Fit":
    from pyro_popbias.fitted import load

    return load(run)


@app.command()
def popularity(run: Run, output: OptionalOutput = None) -> None:
    """Show the posterior of each item's popularity: mean, sd and 90 % interval."""
    refuse_input_as_output(output, run)
    emit(_load(run).popularity(), output, most=PRINTED)


@app.command()
def items(run: Run, output: OptionalOutput = None) -> None:
    """Show each item's quality beside its popularity, with 90 % intervals, and what share of its clicks is quality."""
    refuse_input_as_output(output, run)
    emit(_load(run).items(), output, most=PRINTED)


@app.command()
def predict(
    run: Run,
    pairs: Annotated[Path, typer.Argument(help="File with columns user and item.")],
    output: Output,
    popularity: Mode = "population",
    unseen: Annotated[
        Unseen, typer.Option(help="Pairs of users or items without training rows: refuse, score by the prior, or drop.")
    ] = Unseen.error,
    calibrated: Calibrated = False,
) -> None:
    """Write the debiased probability P(c=1 | do(u,i)) of pairs of users and items."""
    from pyro_popbias.data.table_files import read_table

    refuse_input_as_output(output, run, pairs)
    frame = read_table(pairs, text=("user", "item"))
    mode = popularity_mode(popularity)
    emit(_load(run).predict(frame, popularity=mode, unseen=unseen.value, calibrated=calibrated), output)


@app.command()
def recommend(
    run: Run,
    output: Output,
    users: Annotated[Path | None, typer.Option(help="File with a column user; all users if left out.")] = None,
    k: Annotated[int, typer.Option("-k", help="Number of items per user.")] = 10,
    popularity: Mode = "population",
    p_top_k: Annotated[
        bool, typer.Option("--p-top-k", help="Add the probability of each item to be in the list; takes longer.")
    ] = False,
    calibrated: Calibrated = False,
    shard: Annotated[str | None, typer.Option(help="Part of the users to answer: 2/8 is the second of eight.")] = None,
) -> None:
    """Write each user's top items by P(c=1 | do(u,i)), without those already seen."""
    from pyro_popbias.data.table_files import read_table

    refuse_input_as_output(output, run, users)
    ids = None if users is None else list(read_table(users, text=("user",))["user"])
    mode = popularity_mode(popularity)
    part, fitted = part_of(shard), _load(run)
    if part is not None:
        ids = part.of(list(dict.fromkeys(fitted.catalogue.users if ids is None else ids)))
    emit(fitted.recommend(ids, k=k, popularity=mode, p_top_k=p_top_k, calibrated=calibrated), output)


@app.command()
def evaluate(
    run: Run,
    test: Annotated[
        Path, typer.Argument(help="File of interactions that the fit has not seen, read by the study's [data].")
    ],
    k: Annotated[list[int] | None, typer.Option("-k", help="Length of lists, 20 by default; may be repeated.")] = None,
    popularity: Mode = "population",
    candidates: Ranked = Candidates.all,
    output: OptionalOutput = None,
) -> None:
    """Show how good a run ranks a test, and how far its lists lean towards popular items, with 90 % intervals."""
    from pyro_popbias.cli.fit_and_compare import read_test

    refuse_input_as_output(output, run, test)
    fitted = _load(run)
    rows = read_test(fitted.study, test)
    found = fitted.evaluate(rows, k=k or [20], popularity=popularity_mode(popularity), candidates=candidates.value)
    emit(found, output)
    for note in found.attrs["notes"]:
        typer.echo(note)


@app.command()
def check(run: Run) -> None:
    """Run the posterior predictive and accuracy checks of a run; exit code 6 if one fails."""
    from pyro_popbias.errors import CheckFailed

    found = _load(run).check()
    typer.echo(str(found))
    if not found.passed:
        raise CheckFailed(f"PB-C140: {run}: {found.verdict}; see above what each says")


@app.command()
def compare(
    paths: Annotated[list[Path], typer.Argument(help="Run folders, or one study file with --guides.")],
    guides: Annotated[str, typer.Option(help="Guides to fit the study with, as in gamma,lognormal.")] = "",
    test: Annotated[Path | None, typer.Option(help="File of labelled interactions that no fit has seen.")] = None,
    jobs: Jobs = None,
    output: OptionalOutput = None,
) -> None:
    """Compare fits side by side, the best held-out log-score first; memory of parameters is in MiB."""
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
    emit(table, output)
    for name, note in zip(table["name"], table["note"], strict=True):
        if output is not None and note:  # else it stands in the table
            typer.echo(f"{name}: {note}")
    typer.echo(UNITS)


@app.command()
def tune(
    study: Declared,
    space: Annotated[Path, typer.Option(help="TOML file: keys of the study, each with its choices or its range.")],
    out: Annotated[Path, typer.Option(help="Folder of the search; one that was cut off goes on.")],
    trials: Annotated[int, typer.Option(min=1, help="Number of settings to try in all.")] = 12,
    data: Annotated[Path | None, typer.Option(help="File of interactions in place of the study's.")] = None,
) -> None:
    """Search a space of settings by the study's [training] validation, and write the best study."""
    from pyro_popbias.cli.tune import run_tuning

    say(run_tuning(study, space, out, trials=trials, data=data), "the same command goes on")


@app.command()
def report(
    run: Run,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write the report, an .html file.")],
    titles: Annotated[Path | None, typer.Option(help="File with columns item and title, to show names.")] = None,
    test: Annotated[Path | None, typer.Option(help="File of interactions to evaluate the fit on.")] = None,
    candidates: Ranked = Candidates.all,
) -> None:
    """Write a report of a run: one self-contained HTML file without scripts."""
    from pyro_popbias.cli.fit_and_compare import read_test

    refuse_input_as_output(output, run, titles, test)
    fitted = _load(run)
    rows = None if test is None else read_test(fitted.study, test)
    fitted.report(output, titles=titles, test=rows, candidates=candidates.value)
    typer.echo(f"wrote {output}")


@app.command()
def simulate(
    study: Declared,
    events: Annotated[Path, typer.Option(help="Where to write the interactions; fit them with --data.")],
    truth: Annotated[Path, typer.Option(help="Where to write the true popularity: item, period, z.")],
    users: Annotated[int, typer.Option(help="Number of users.")] = 1_000,
    items: Annotated[int, typer.Option(help="Number of items.")] = 500,
    interactions: Annotated[int, typer.Option(help="Number of interactions.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Seed of every random number.")] = 0,
) -> None:
    """Simulate interactions from a study's model, and write them with their true popularity."""
    from pyro_popbias.cli.simulate_study import run_simulation

    refuse_input_as_output(events, study, truth)
    refuse_input_as_output(truth, study)

    sizes = {"users": users, "items": items, "interactions": interactions, "seed": seed}
    for line in run_simulation(study, events, truth, sizes=sizes):
        typer.echo(line)


app.command()(calibrate)


@app.command()
def variants() -> None:
    """List every combination of model, prior and guide, and why some are refused."""
    from pyro_popbias.assembly.compatibility import variants as table

    emit(table(), None)


@app.command()
def doctor() -> None:
    """Print versions, threads and device, and what is missing."""
    from pyro_popbias.cli.doctor import examine

    for name, finding in examine().items():
        typer.echo(f"{name:14} {finding}")


def main() -> None:
    """Run the command line; an error of the package is one line on standard error and its own exit code."""
    from pyro_popbias.cli.several_processes import leave, one_of_several
    from pyro_popbias.errors import LostRankError, PopBiasError

    warnings.formatwarning = lambda message, *_args, **_options: f"warning: {message}\n"
    opening = ""
    try:
        with log_on_stderr(), one_of_several(sys.argv[1:]) as opening:
            app()
    except OSError as error:
        known = error if isinstance(error, PopBiasError) else cannot_write(error)
        sys.stderr.write(visible(f"{opening}error: {known}\n"))
        sys.exit(known.exit_code)
    except PopBiasError as error:
        sys.stderr.write(visible(f"{opening}error: {error}\n"))
        if isinstance(error, LostRankError):
            leave(error.exit_code)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; continue with --resume\n")
        sys.exit(130)
