"""The pictures of the start page: films of MovieLens latest-small with their popularity, and one user's list before and after.

The fit is that of the default study.
"""

from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import pandas as pd
import typer

import pyro_popbias as pb

USER, FILMS, PLACES = "15", 5, 8  # a user with many ratings, whose list is known well
INCHES, DPI = (6.8, 4.3), 165  # letters that can be read on a telephone


def titles(file: Path) -> dict[str, str]:
    """Return titles by the ids of films, articles in front, without the year and other names of the film."""
    table = pd.read_csv(file, dtype={"movieId": str})
    short = table["title"].str.replace(r"( \([^()]*\))+$", "", regex=True)
    short = short.str.replace(r"^(.*), (The|A|An|La|Le|Il|Les)$", r"\2 \1", regex=True)
    return dict(zip(table["movieId"], short, strict=True))


def fitted(folder: Path, run: Path | None) -> pb.Fit:
    """Return the fit, a saved one where there is one."""
    if run is not None and run.exists():
        return pb.load(run)
    fit = pb.fit(pb.read_movielens(folder), progress=False)
    if run is not None:
        fit.save(run)
    return fit


def main(
    data: Annotated[Path, typer.Argument(help="folder with ml-latest-small")],
    out: Annotated[Path, typer.Argument(help="folder of the pictures")] = Path("docs"),
    run: Annotated[Path | None, typer.Option(help="folder of the fit, which is made where there is none")] = None,
) -> None:
    """Fit where no fit is given, and draw."""
    fit = fitted(data / "ml-latest-small", run)
    print(fit)
    names = titles(data / "ml-latest-small" / "movies.csv")
    _, ax = plt.subplots(figsize=INCHES, layout="constrained")
    fit.plot.popularity(ax, number=FILMS, titles=names)
    plt.savefig(out / "start-popularity.png", dpi=DPI)
    _, ax = plt.subplots(figsize=INCHES, layout="constrained")
    fit.plot.effect(USER, ax, k=PLACES, titles=names)
    plt.savefig(out / "start-effect.png", dpi=DPI)


if __name__ == "__main__":
    typer.run(main)
