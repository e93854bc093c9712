"""Plot of accuracy against popularity bias: modes of popularity, and the knob between "none" and "posterior"."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pyro_popbias.evaluation.trade_off import SHARE
from pyro_popbias.report.figure import BLUE, GREY, RED, Target, axes_for

MARKERS = {"none": "s", "population": "D", "prior": "v", "posterior": "o"}
TITLE = "Accuracy against popularity bias"


def trade_off(table: pd.DataFrame, ax: Target = None) -> Axes:
    """Plot what `Fit.trade_off` returns: lists further right lean more towards popular items.

    Bars are the intervals of the paired differences from "none", drawn about each point. Modes whose lists are alike lie on
    each other.

    Args:
        table: of `Fit.trade_off`.
        ax: axes to draw into; those of a new figure if left out.
    """
    ax = axes_for(ax, width=6.5, height=4.4)
    accuracy, bias = metrics_of(table)
    on_knob = table["popularity"] == SHARE
    knob, modes = table[on_knob].sort_values("share"), table[~on_knob]
    ax.plot(knob[bias], knob[accuracy], "-", color=GREY, linewidth=1, zorder=1)
    _points(knob, accuracy, bias, ax, fmt=".", color=GREY, label="share of an item's own popularity")
    for share, x, y in zip(knob["share"], knob[bias], knob[accuracy], strict=True):
        ax.annotate(f"{share:g}", (x, y), (5, -11), textcoords="offset points", fontsize=8, color="0.35")
    for place, (mode, part) in enumerate(modes.groupby("popularity", sort=False)):
        color = RED if mode == "posterior" else BLUE
        size = 11.0 - 2 * place  # the later ones are smaller and hollow, so that they are seen where they coincide
        _points(part, accuracy, bias, ax, fmt=MARKERS[str(mode)], color=color, label=str(mode), size=size)
    ax.set(xlabel=_described(bias), ylabel=_described(accuracy), title=TITLE)
    ax.legend(frameon=False, fontsize=8, title="bars: difference from none", title_fontsize=8)
    return ax


def described_in_words(table: pd.DataFrame) -> str:
    """Return what the plot shows, for those who do not see it."""
    accuracy, bias = metrics_of(table)
    parts = [
        f"{row['popularity']}{'' if np.isnan(row['share']) else format(row['share'], ' g')}: "
        f"{row[accuracy]:.3g} at {row[bias]:.3g}"
        for _, row in table.iterrows()
    ]
    return f"{TITLE}: {accuracy} at {bias} under each popularity. {'; '.join(parts)}."


def metrics_of(table: pd.DataFrame) -> tuple[str, str]:
    """Return the names of accuracy and bias in a table of `Fit.trade_off`."""
    accuracy, bias = (name.removesuffix("_difference") for name in table.columns if name.endswith("_difference"))
    return accuracy, bias


def _points(
    part: pd.DataFrame, accuracy: str, bias: str, ax: Axes, *, fmt: str, color: str, label: str, size: float = 7
) -> None:
    """Draw points with the intervals of their differences in both directions."""
    across, along = (
        np.abs([part[f"{name}_difference"] - part[f"{name}_difference_{end}"] for end in ("lower", "upper")])
        for name in (bias, accuracy)
    )
    ax.errorbar(
        part[bias],
        part[accuracy],
        xerr=across,
        yerr=along,
        fmt=fmt,
        color=color,
        elinewidth=0.8,
        label=label,
        markersize=size,
        markerfacecolor="none",
        zorder=2,
    )


def _described(metric: str) -> str:
    """Return a metric's name with its unit."""
    return f"{metric} (training rows)" if metric.startswith("average_popularity") else metric
