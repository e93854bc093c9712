"""The commands that train: fit, update, tune."""

from pathlib import Path
from typing import Annotated

import typer

from pyro_popbias.cli.options import (
    TABLE_FILE,
    Assignments,
    Data,
    Declared,
    Guide,
    Jobs,
    Json,
    Model,
    NoData,
    Overwrite,
    Run,
)
from pyro_popbias.cli.outputs import refuse_input_as_output, refuse_inside, say


def fit(
    study: Declared,
    out: Annotated[Path, typer.Option(help="Run folder to write; new or empty, unless resumed or overwritten.")],
    data: Data = None,
    model: Model = None,
    guide: Guide = None,
    assignments: Assignments = None,
    restarts: Annotated[
        int, typer.Option(help="Number of independent fits; the best is used, the others are kept too.")
    ] = 1,
    jobs: Jobs = None,
    plot: Annotated[Path | None, typer.Option(help="Where to draw the popularity of items, a .png file.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint of the run.")] = False,
    no_data: NoData = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Fit a study to its interactions, and write a run folder.

    The run folder holds the fit, its study, its history and its tables; all other commands read it. A checkpoint is saved after
    every epoch, so that a fit which was stopped goes on with --resume. With --overwrite the fit is made in RUN.new, which takes
    the place of RUN when it is complete; until then the old run stays as it is.

    Examples:
      popbias fit study.toml --out run
      popbias fit study.toml --out run --plot popularity.png
      popbias fit study.toml --out run --guide lognormal --set training.epochs=5
      popbias fit study.toml --out run --resume
    """
    from pyro_popbias.cli.fit_and_compare import run_fit

    refuse_input_as_output(plot, study, data)
    refuse_inside(plot, out)
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
        overwrite=overwrite,
        plot=plot,
    )
    say(lines, "continue with --resume" + " --overwrite" * overwrite, as_json=as_json)


def update(
    run: Run,
    data: Annotated[Path, typer.Option(help=f"Interactions of the next period, {TABLE_FILE}.")],
    out: Annotated[Path, typer.Option(help="Run folder to write; new or empty, unless overwritten.")],
    drift: Annotated[float | None, typer.Option(help="Step of log popularity (sd) in place of the run's own.")] = None,
    no_data: NoData = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Go on with a run on the rows of the next period.

    The old rows are not read again: what the run has learned of popularity, widened by one step, is the prior of the new period.
    The rows are read by the keys of the run's study.

    Examples:
      popbias update run --data may.csv --out run-may
      popbias update run-may --data june.csv --out run-june --drift 0.2
    """
    from pyro_popbias.cli.fit_and_compare import run_update

    if overwrite:
        refuse_input_as_output(out, run)
    lines = run_update(run, out, data=data, drift=drift, keep_data=not no_data, overwrite=overwrite)
    say(lines, as_json=as_json)


def tune(
    study: Declared,
    space: Annotated[Path, typer.Option(help="TOML file: keys of the study, each with its choices or its range.")],
    out: Annotated[Path, typer.Option(help="Folder of the search; one that was cut off goes on.")],
    trials: Annotated[int, typer.Option(min=1, help="Number of settings to try in all.")] = 12,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Search a space of settings, and write the best study.

    Settings are judged on the rows that [training] validation holds out; no test is read. The space names keys of the study with
    their choices, "model.affinity.dim" = [16, 64], or a range, training.learning_rate = { low = 0.001, high = 0.1, log = true }.
    The folder gets best.toml and trials.csv. Needs optuna: pip install 'pyro-popbias[tune]'.

    Examples:
      popbias tune study.toml --space space.toml --out search
      popbias tune study.toml --space space.toml --out search --trials 30
    """
    from pyro_popbias.cli.tune import run_tuning

    say(
        run_tuning(study, space, out, trials=trials, data=data),
        "the same command goes on",
        as_json=as_json,
    )
