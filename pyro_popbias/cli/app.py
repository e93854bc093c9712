"""The command line. Each command imports what it needs, so that --help is quick."""

import logging
import sys
import warnings
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

    from pyro_popbias.fitted import Fit

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Bayesian treatment of popularity bias in recommender systems.",
)

Mode = Annotated[str, typer.Option(help="population, prior, posterior or none")]
Output = Annotated[Path, typer.Option("-o", "--output", help="a .csv, .csv.gz or .parquet file")]
OptionalOutput = Annotated[Path | None, typer.Option("-o", "--output", help="a .csv, .csv.gz or .parquet file")]


def _emit(frame: "pd.DataFrame", output: Path | None) -> None:
    if output is None:
        typer.echo(frame.to_string(index=False, max_rows=40))
    else:
        from pyro_popbias.data.table_files import write_table

        write_table(frame, output)
        typer.echo(f"{len(frame)} rows -> {output}")


@app.command()
def demo(out: Annotated[Path, typer.Option(help="folder for the figure and the tables")] = Path("demo-run")) -> None:
    """Simulate with a known truth, fit, compare with the truth."""
    from pyro_popbias.cli.demo import run_demo

    for line in run_demo(out):
        typer.echo(line)


@app.command()
def init(output: Annotated[Path, typer.Option("-o", "--output")] = Path("study.toml")) -> None:
    """Write a commented study file."""
    from pyro_popbias.data.atomic_files import write_atomically
    from pyro_popbias.errors import RunFolderError

    if output.exists():
        raise RunFolderError(f"PB-R101: {output} exists; choose another name or remove it")
    template = files("pyro_popbias.cli") / "study_template.toml"
    write_atomically(output, template.read_bytes())
    typer.echo(f"wrote {output}; name your file and columns in [data], then run: popbias fit {output} --out run")


@app.command()
def fit(
    study: Path,
    out: Annotated[Path, typer.Option(help="the run folder")],
    data: Annotated[Path | None, typer.Option(help="a file in place of the study's")] = None,
    model: Annotated[str | None, typer.Option()] = None,
    guide: Annotated[str | None, typer.Option()] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="section.key=value")] = None,
    restarts: Annotated[int, typer.Option(help="independent fits; the best is kept, the others are chains")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="continue from the last checkpoint")] = False,
    no_data: Annotated[bool, typer.Option("--no-data", help="leave the interactions out of the folder")] = False,
) -> None:
    """Fit a study to a file and write a run folder."""
    from pyro_popbias.cli.fit_and_compare import run_fit

    lines = run_fit(
        study,
        out,
        data=data,
        model=model,
        guide=guide,
        overrides=assignments or [],
        restarts=restarts,
        resume=resume,
        keep_data=not no_data,
    )
    try:
        for line in lines:
            typer.echo(line)
    except KeyboardInterrupt:  # typer would end without a word
        typer.echo("interrupted; continue with --resume", err=True)
        raise typer.Exit(130) from None


def _load(run: Path) -> "Fit":
    from pyro_popbias.fitted import load

    return load(run)


@app.command()
def popularity(run: Path, output: OptionalOutput = None) -> None:
    """Print or write the popularity posteriors of a run."""
    _emit(_load(run).popularity(), output)


@app.command()
def predict(run: Path, pairs: Path, output: Output, popularity: Mode = "population") -> None:
    """Write P(c=1 | do(u,i)) of pairs, a file with columns user and item."""
    from pyro_popbias.data.table_files import read_table

    _emit(_load(run).predict(read_table(pairs, text=("user", "item")), popularity=popularity), output)


@app.command()
def recommend(
    run: Path,
    output: Output,
    users: Annotated[Path | None, typer.Option(help="a file with a column user")] = None,
    k: Annotated[int, typer.Option("-k")] = 10,
    popularity: Mode = "population",
) -> None:
    """Write each user's top items by P(c=1 | do(u,i)), without those already seen."""
    from pyro_popbias.data.table_files import read_table

    ids = None if users is None else read_table(users, text=("user",))["user"]
    _emit(_load(run).recommend(ids, k=k, popularity=popularity), output)


@app.command()
def check(run: Path) -> None:
    """Check a run against its rows: predictive checks, in words; ends with exit code 6 where a rule does not hold."""
    from pyro_popbias.errors import CheckFailed

    found = _load(run).check()
    typer.echo(str(found))
    if not found.passed:
        raise CheckFailed(f"PB-C140: {run}: {found.verdict}; see above what each says")


@app.command()
def compare(
    paths: Annotated[list[Path], typer.Argument(help="run folders, or one study file with --guides")],
    guides: Annotated[str, typer.Option(help="guides to fit the study with, as gamma,lognormal")] = "",
    test: Annotated[Path | None, typer.Option(help="labelled rows that no fit has seen")] = None,
    output: OptionalOutput = None,
) -> None:
    """Print or write fits side by side, the best held-out log-score first."""
    from pyro_popbias.cli.fit_and_compare import run_comparison
    from pyro_popbias.data.table_files import file_ending

    if output is not None:
        file_ending(output)  # refused before hours of training and not after
    names = [name.strip() for name in guides.split(",") if name.strip()]
    _emit(run_comparison(paths, guides=names, test=test), output)


@app.command()
def report(
    run: Path,
    output: Annotated[Path, typer.Option("-o", "--output", help="an .html file")],
    titles: Annotated[Path | None, typer.Option(help="a file with columns item and title")] = None,
) -> None:
    """Write a report of a run to look at: one HTML file that holds all it shows and runs nothing."""
    _load(run).report(output, titles=titles)
    typer.echo(f"wrote {output}")


@app.command()
def simulate(
    study: Path,
    events: Annotated[Path, typer.Option(help="file of the rows, in the study's columns: fit it with --data")],
    truth: Annotated[Path, typer.Option(help="file of the true popularity: item, period, z")],
    users: int = 1_000,
    items: int = 500,
    interactions: int = 20_000,
    seed: int = 0,
) -> None:
    """Draw rows of a study's model, with a known truth."""
    from pyro_popbias.cli.simulate_study import run_simulation

    sizes = {"users": users, "items": items, "interactions": interactions, "seed": seed}
    for line in run_simulation(study, events, truth, sizes=sizes):
        typer.echo(line)


@app.command()
def variants() -> None:
    """Print which guide fits which model and prior."""
    from pyro_popbias.assembly.compatibility import variants as table

    _emit(table(), None)


@app.command()
def doctor() -> None:
    """Print versions, threads, device, missing optional parts."""
    from pyro_popbias.cli.doctor import examine

    for name, finding in examine().items():
        typer.echo(f"{name:14} {finding}")


def _show_log() -> None:
    """Show progress as lines on standard error where it is no terminal, which has a bar."""
    log = logging.getLogger("pyro_popbias")
    log.setLevel(logging.INFO)
    if not sys.stderr.isatty() and not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(handler)


def main() -> None:
    """Run the command line; an error of the package is one line on standard error and its own exit code."""
    from pyro_popbias.errors import PopBiasError

    _show_log()
    warnings.formatwarning = lambda message, *_args, **_options: f"warning: {message}\n"
    try:
        app()
    except PopBiasError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; continue with --resume\n")
        sys.exit(130)
