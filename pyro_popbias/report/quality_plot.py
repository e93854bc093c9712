"""Plot of the quality of items against their popularity, with the extremes of both named."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pyro_popbias.prediction.item_table import quality_correlation
from pyro_popbias.report.figure import BLUE, GREY, RED, Target, axes_for, clean
from pyro_popbias.report.fit_plots import POINTS, is_positive
from pyro_popbias.trained import Trained

LEAST_ROWS = 15  # of an item that is named: the quality of others is close to that of all items
LONGEST = 32  # characters of a name
GAP = 0.055  # between the heights of two names, a share of the picture's height
SIDE = 0.5  # what names take on each side, a share of the width of the points
SIZES = (1, 30, 300)  # counts of which the legend shows the points


def quality(
    fit: Trained,
    ax: Target = None,
    *,
    number: int = 2,
    interval: float = 0.9,
    titles: Mapping[str, str] | None = None,
) -> Axes:
    """Plot the quality of items with rows against their popularity; points are larger where an item has more rows.

    Named are items with 15 or more rows: the best and the worst of the third of them that is least popular, and of the third
    that is most popular. Bars are their intervals. The title has the correlation over all items with rows.

    Args:
        fit: the fit.
        ax: axes to draw into; those of a new figure if left out.
        number: number of items named in each of these four corners.
        interval: probability of the intervals.
        titles: maps item ids to titles; an item without one is shown by its id.

    Raises:
        ConfigError: items have no quality in this fit.
    """
    table = fit.items(interval).query("count > 0")
    ax = axes_for(ax, width=8.5, height=5.0)
    drawn = table.sample(min(len(table), POINTS), random_state=0)
    ax.scatter(drawn["popularity"], drawn["quality"], s=_size(drawn["count"]), color=BLUE, alpha=0.35, linewidths=0)
    for rows in SIZES:
        ax.scatter([], [], s=_size(rows), color=BLUE, alpha=0.35, linewidths=0, label=f"{rows:,}")
    if is_positive(fit):
        ax.set_xscale("log")
    _name(extremes(table, number), table, ax, titles or {})
    lower, middle, upper = np.quantile(
        quality_correlation(fit.model, fit.guide, fit.catalogue), (0.5 - interval / 2, 0.5, 0.5 + interval / 2)
    )
    ax.set(
        xlabel=f"popularity z: posterior mean, {interval:.0%} interval",
        ylabel=f"quality (logits): posterior mean, {interval:.0%} interval",
        title=f"Quality against popularity: correlation {middle:.2f} ({lower:.2f} to {upper:.2f})",
    )
    ax.legend(frameon=False, fontsize=8, title="rows", title_fontsize=8, loc="lower center", ncols=len(SIZES))
    return ax


def extremes(table: pd.DataFrame, number: int) -> pd.DataFrame:
    """Return the items that are named, with a column side: "left" where they are less popular than most, else "right".

    Args:
        table: of `Fit.items`.
        number: items of highest and of lowest quality, each, on each side.
    """
    known = table[table["count"] >= LEAST_ROWS].sort_values("popularity", kind="stable")
    third = len(known) // 3
    parts = []
    for side, part in (("left", known.iloc[:third]), ("right", known.iloc[len(known) - third :])):
        part = part.sort_values("quality", kind="stable").assign(side=side)
        parts += [part.iloc[:number], part.iloc[number:].iloc[-number:] if number else part.iloc[:0]]
    return pd.concat(parts)


def described_in_words(ax: Axes) -> str:
    """Return what the plot shows, for those who do not see it: its title and the items that it names."""
    names = [text.get_text() for text in ax.texts]
    return f"{ax.get_title()}. Named: {'; '.join(names)}." if names else ax.get_title()


def _size(count: Any) -> Any:
    """Return the area of points, in square points."""
    return 3 + 3 * np.sqrt(count)


def _name(named: pd.DataFrame, table: pd.DataFrame, ax: Axes, titles: Mapping[str, str]) -> None:
    """Draw intervals and names of some items; names stand in columns at both sides, each with a line to its point."""
    _leave_room(table, named, ax)
    ends = {name: [named[name] - named[f"{name}_lower"], named[f"{name}_upper"] - named[name]] for name in AXES}
    # a point has no interval
    error = {name: np.nan_to_num(np.clip(np.asarray(end), 0, None)) for name, end in ends.items()}
    x, y = (named[name].to_numpy() for name in AXES)
    ax.errorbar(
        x,
        y,
        xerr=error["popularity"],
        yerr=error["quality"],
        fmt="o",
        color=RED,
        markersize=3,
        elinewidth=0.7,
        zorder=3,
    )
    low, high = ax.get_ylim()
    for side, place, align in (("left", 0.01, "left"), ("right", 0.99, "right")):
        part = named[named["side"] == side].sort_values("quality")
        for height, (_, row) in zip(_apart((part["quality"] - low) / (high - low)), part.iterrows(), strict=True):
            ax.annotate(
                clean(titles.get(row["item"], row["item"]), LONGEST),
                (row["popularity"], row["quality"]),
                (place, height),
                textcoords="axes fraction",
                horizontalalignment=align,
                verticalalignment="center",
                fontsize=8,
                parse_math=False,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1},
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkB": 3},
            )


AXES = ("popularity", "quality")


def _leave_room(table: pd.DataFrame, named: pd.DataFrame, ax: Axes) -> None:
    """Set the limits of the axes: names have room at both sides, intervals and the legend above and below."""
    log = ax.get_xscale() == "log"
    across = np.concatenate([table["popularity"], named["popularity_lower"], named["popularity_upper"]])
    low, high = np.nanquantile(np.log(across) if log else across, (0, 1))
    room = SIDE * max(high - low, 1e-3)
    ends = np.array([low - room, high + room])
    ax.set_xlim(*(np.exp(ends) if log else ends))
    along = np.concatenate([table["quality"], named["quality_lower"], named["quality_upper"]])
    low, high = along.min(), along.max()
    room = 0.06 * max(high - low, 1e-3)
    ax.set_ylim(low - 2 * room, high + room)


def _apart(heights: "pd.Series[float]") -> np.ndarray:
    """Return ascending heights, shares of the picture's, moved apart so far that names do not cover each other."""
    places = np.arange(len(heights))
    found = np.maximum.accumulate(heights.to_numpy() - GAP * places) + GAP * places
    top = 0.98 - GAP * places[::-1]
    return np.clip(np.minimum(found, top), 0.02, None)
