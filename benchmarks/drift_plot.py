"""The popularity of the ten films of MovieLens latest-small with most ratings, over ten slices of time, as a picture.

The study is the default one with a random walk. Intervals of ten films would cover each other: there are two panels of five.
"""

import time
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import typer

import pyro_popbias as pb

PERIODS, FILMS, PANELS = 10, 10, 2
WALK = {"name": "lognormal", "drift": "random-walk"}


def titles(file: Path) -> dict[str, str]:
    """Return titles by the ids of films, without the year."""
    table = pd.read_csv(file, dtype={"movieId": str})
    return dict(zip(table["movieId"], table["title"].str.replace(r" \(\d{4}\)$", "", regex=True), strict=True))


def fitted(folder: Path) -> pb.Fit:
    """Return the fit, a saved one where there is one."""
    began = time.process_time()
    events = pb.read_movielens(folder).with_periods(PERIODS)
    fit = pb.fit(events, study=pb.Study(model={"prior": WALK}), progress=False)
    print(f"{fit.history['seconds'].sum():.0f} s of training, {time.process_time() - began:.0f} s of processor time")
    print(fit.parameters().round(3).to_string(index=False))
    return fit


def main(
    data: Annotated[Path, typer.Argument(help="folder with ml-latest-small")],
    out: Annotated[Path, typer.Argument(help="the picture")] = Path("drift.png"),
    run: Annotated[Path | None, typer.Option(help="folder of the fit, which is made where there is none")] = None,
) -> None:
    """Fit where no fit is given, and draw."""
    folder = data / "ml-latest-small"
    if run is not None and run.exists():
        fit = pb.load(run)
    else:
        fit = fitted(folder)
        if run is not None:
            fit.save(run)
    rows = fit.catalogue.count.reshape(-1, PERIODS).sum(1)
    most = fit.catalogue.items[np.argsort(-rows, kind="stable")[:FILMS]]
    figure, axes = plt.subplots(PANELS, figsize=(9, 7.5), layout="constrained", sharex=True, sharey=True)
    for ax, films in zip(axes, np.split(most, PANELS), strict=True):
        fit.plot.drift(films, ax, titles=titles(folder / "movies.csv"))
        ax.set(title="", xlabel="", ylabel="")
    figure.supxlabel("middle of each period")
    figure.supylabel("popularity z: posterior mean, 90 % interval")
    plt.savefig(out, dpi=110)


if __name__ == "__main__":
    typer.run(main)
