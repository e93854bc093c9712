"""The answer of `identifiability.py` as a picture: weights of features over their true values, and how many intervals hold."""

from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import typer
from identifiability import summary
from matplotlib.axes import Axes

from pyro_popbias.report.figure import BLUE, DPI, GREY, RED

WORLDS = ("additive", "product")
WEIGHTS = {"beta_user[0]": "o", "beta_item[0]": "s"}
LEAST, MOST, NOMINAL = 85, 95, 90  # percent of intervals


def estimates(table: pd.DataFrame, ax: Axes) -> None:
    """Draw the mean of each weight over its true value, with 1.64 standard errors of one estimate."""
    ax.axvline(1.0, color=GREY, linewidth=1)
    places, labels = [], []
    for data in WORLDS:
        for fitted in sorted(WORLDS, key=lambda each, data=data: each != data):
            place = -len(places) - 0.6 * (len(places) > 1)
            places.append(place)
            labels.append(f"{data} data\n{fitted} fit")
            for shift, (name, marker) in zip((0.13, -0.13), WEIGHTS.items(), strict=True):
                row = table[(table["data"] == data) & (table["fit"] == fitted) & (table["parameter"] == name)].iloc[0]
                style = {"marker": marker, "color": BLUE if fitted == data else RED, "linestyle": "none", "capsize": 2}
                width = 1.645 * row["se"] / abs(row["truth"])
                ax.errorbar(row["mean"] / row["truth"], place + shift, xerr=width, **style)
    ax.set_yticks(places, labels)
    ax.set(xlabel="estimate / truth", xlim=(0.2, 1.5), title="Weights of features: the right model has them")
    for name, marker in WEIGHTS.items():
        side = name.removeprefix("beta_").removesuffix("[0]")
        ax.plot([], [], marker=marker, color=GREY, linestyle="none", label=f"of the {side}'s first feature")
    ax.legend(loc="center right", fontsize="small")


def coverage(table: pd.DataFrame, ax: Axes) -> None:
    """Draw the share of 90 % intervals of right models that hold, by q alone and with what cells move along."""
    ax.axhspan(LEAST, MOST, color=GREY, alpha=0.25, linewidth=0)
    ax.axhline(NOMINAL, color=GREY, linewidth=1)
    groups = [(data, side) for data in WORLDS for side in ("user", "item")]
    for place, (data, side) in enumerate(groups):
        right = (table["data"] == data) & (table["fit"] == data) & table["parameter"].str.startswith(f"beta_{side}")
        values = table.loc[right, ["cover_q", "cover"]].mean()
        for shift, value, colour in zip((-0.18, 0.18), values, (RED, BLUE), strict=True):
            ax.bar(place + shift, value, width=0.34, color=colour)
    ax.set_xticks(np.arange(len(groups)), [f"{data}\n{side} weights" for data, side in groups])
    ax.bar([0], [0], color=RED, label="mean field: cells held fixed")
    ax.bar([0], [0], color=BLUE, label="fit.parameters(): cells move along")
    ax.set(ylim=(50, 100), ylabel="intervals that hold (%)", title="90 % intervals of weights")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize="small")


def main(
    table: Annotated[Path, typer.Argument(help="file of all estimates")],
    out: Annotated[Path, typer.Argument(help="the picture")] = Path("identifiability.png"),
) -> None:
    """Draw."""
    found = summary(pd.read_csv(table))
    found = found[(found["method"] == "svi") & (found["prior"] == "known")]
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    estimates(found, axes[0])
    coverage(found, axes[1])
    figure.savefig(out, dpi=DPI, metadata={"Software": None})


if __name__ == "__main__":
    typer.run(main)
