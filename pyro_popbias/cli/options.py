"""Arguments and options that several commands have, each declared once."""

from pathlib import Path
from typing import Annotated

import typer

from pyro_popbias.cli.choices import Candidates, Unseen
from pyro_popbias.cli.completion import assignments, guides, models, popularities

TABLE_FILE = "a .csv, .csv.gz or .parquet file"
PRINTED = 40  # rows that a person looks through

Run = Annotated[Path, typer.Argument(help="Run folder that `popbias fit` wrote.")]
Declared = Annotated[Path, typer.Argument(help="Study file, such as `popbias init` writes.")]
Data = Annotated[Path | None, typer.Option(help="File of interactions in place of the study's.")]
Model = Annotated[
    str | None, typer.Option(help="Model in place of the study's, such as additive.", autocompletion=models)
]
Guide = Annotated[
    str | None, typer.Option(help="Guide in place of the study's, such as lognormal.", autocompletion=guides)
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Set one key of the study, as in training.epochs=5; may be repeated.",
        autocompletion=assignments,
    ),
]
Mode = Annotated[
    str,
    typer.Option(
        help="Popularity to integrate over: population, prior, posterior, forecast, none, a number, forecast=0.5, share=0.5.",
        autocompletion=popularities,
    ),
]
Unknown = Annotated[
    Unseen, typer.Option(help="Users or items without training rows: refuse, score by the prior, or drop.")
]
Calibrated = Annotated[
    bool, typer.Option("--calibrated", help="Where negatives were sampled: probabilities over the whole catalogue.")
]
Ranked = Annotated[
    Candidates, typer.Option(help="Rank all items without those already seen, or the user's test rows only.")
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help=f"Write the table to {TABLE_FILE} instead of printing it.")
]
Jobs = Annotated[
    int | None, typer.Option(help="Parallel processes, one thread each; by default everything runs in this one.")
]
NoData = Annotated[bool, typer.Option("--no-data", help="Do not copy the interactions into the run.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there once its successor is complete.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value, and nothing else, to standard output.")]
