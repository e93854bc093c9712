"""The command `popbias calibrate`, with its options."""

from pathlib import Path
from typing import Annotated

import typer

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
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set one key of the study, as in training.epochs=5; may be repeated."),
    ] = None,
) -> None:
    """Simulate items from a study's model, and see whether its guide's intervals hold their truth; exit code 6 if not."""
    from pyro_popbias.cli.simulated_calibration import run_calibration

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
    say(lines, "start again")
