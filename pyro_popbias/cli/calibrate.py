"""The command `popbias calibrate`, with its options."""

from pathlib import Path
from typing import Annotated

import typer

from pyro_popbias.cli.options import Assignments, Json
from pyro_popbias.cli.outputs import refuse_input_as_output, say


def calibrate(
    study: Annotated[Path, typer.Argument(help="Study file; its file of interactions is not read.")],
    items: Annotated[int, typer.Option(help="Number of simulated items.")] = 20_000,
    interactions: Annotated[int | None, typer.Option(help="Number of simulated rows; 50 per item if left out.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated world.")] = 0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write the ranks: .csv, .csv.gz or .parquet.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Where to draw the ranks, a .png file.")] = None,
    assignments: Assignments = None,
    as_json: Json = False,
) -> None:
    """See whether a guide's intervals hold the truth, by simulation.

    Simulates items from a study's model, fits its guide with known affinities, and compares the ranks of the true popularities
    in q with those in the exact posterior. The exit code is 6 if a rule does not hold.

    Examples:
      popbias calibrate study.toml
      popbias calibrate study.toml --set guide.name=lognormal --plot ranks.png
    """
    from pyro_popbias.cli.simulated_calibration import run_calibration
    from pyro_popbias.errors import CheckFailed

    refuse_input_as_output(output, study, plot)
    refuse_input_as_output(plot, study)
    lines = run_calibration(
        study,
        items=items,
        interactions=interactions,
        seed=seed,
        overrides=assignments or [],
        output=output,
        plot=plot,
    )
    record = say(lines, as_json=as_json)
    if not record["passed"]:
        raise CheckFailed(f"PB-C452: {study}: {record['verdict']}; see above what each rule says")
