"""Plots of predictive checks: observed statistics against bands of replicates."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pyro_popbias.report.figure import BLUE, RED, new_axes


def click_rate_by_decile(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot the click rate by decile of the items' number of rows.

    Args:
        table: table of one predictive check, with columns statistic, stratum, observed, mean, lower, upper.
        ax: axes to draw into; those of a new figure if left out.
    """
    ax = ax or new_axes()
    part = table[table["statistic"] == "click rate"]
    decile = part["stratum"].str.removeprefix("decile ").astype(int)
    ax.fill_between(
        decile, part["lower"], part["upper"], color=BLUE, alpha=0.25, linewidth=0, label="90 % of replicates"
    )
    ax.plot(decile, part["mean"], color=BLUE, linewidth=1)
    ax.plot(decile, part["observed"], "o", color=RED, markersize=4, label="observed")
    ax.set(
        xlabel="decile of items by number of rows (10 = most)",
        ylabel="click rate",
        title="Click rate by number of rows",
    )
    ax.set_xticks(np.arange(1, 11))
    ax.legend(frameon=False)
    return ax


def calibration(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot the observed click rate against the predicted one, in ten bins of probability.

    Args:
        table: as for `click_rate_by_decile`.
        ax: axes to draw into; those of a new figure if left out.
    """
    ax = ax or new_axes()
    part = table[table["statistic"] == "calibration"].sort_values("mean")
    error = [part["mean"] - part["lower"], part["upper"] - part["mean"]]
    ends = [min(part["mean"].min(), part["observed"].min()), max(part["mean"].max(), part["observed"].max())]
    ax.plot(ends, ends, color="black", linewidth=0.8)
    ax.errorbar(
        part["mean"],
        part["mean"],
        yerr=np.clip(error, 0, None),
        fmt="none",
        color=BLUE,
        alpha=0.5,
        linewidth=5,
        label="90 % of replicates",
    )
    ax.plot(part["mean"], part["observed"], "o", color=RED, markersize=4, label="observed")
    ax.set(xlabel="mean predicted probability", ylabel="observed click rate", title="Calibration")
    ax.legend(frameon=False, loc="upper left")
    return ax
