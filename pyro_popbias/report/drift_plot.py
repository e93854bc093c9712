"""Plot of the popularity of some items over periods, with intervals."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import ConciseDateFormatter
from matplotlib.ticker import MaxNLocator

from pyro_popbias.data.ids import as_text, column_of
from pyro_popbias.errors import ConfigError, DataError
from pyro_popbias.report.figure import SERIES, Target, axes_for, clean
from pyro_popbias.report.fit_plots import is_positive, label_popularity
from pyro_popbias.trained import Trained

NUMBER = 5  # of items, where none are named
SHIFT = 0.04  # between the intervals of two items in one period, a share of the distance of periods
FIRST, LAST = 6e8, 5e9  # seconds since 1970 that are taken for dates: 1989 to 2128


def drift(
    fit: Trained,
    items: Iterable[Any] | None = None,
    ax: Target = None,
    *,
    interval: float = 0.9,
    titles: Mapping[str, str] | None = None,
) -> Axes:
    """Plot the posterior mean of popularity in each period, with its interval; open where the item has no rows.

    An open point is what is known without rows: the item's prior, or what its other periods say where popularity walks.
    Time is drawn as dates where the log's times are dates, or seconds since 1970, and else as the number of the period.

    Args:
        fit: the fit.
        items: ids; by default the five with most rows, the first of them at the top of the legend.
        ax: axes to draw into; those of a new figure if left out.
        interval: probability of the intervals.
        titles: maps item ids to titles; an item without one is shown by its id.

    Raises:
        ConfigError: the fit has one period, or items are a single string.
        DataError: items are unseen, or there are none.
    """
    if fit.catalogue.periods == 1:
        raise ConfigError(
            "PB-C422: popularity over periods needs two periods or more, and the fit has one; fit with a time column and "
            "periods, as in pb.read_interactions(..., time='timestamp', periods=4)"
        )
    ids = _most_rows(fit) if items is None else _known(fit, items)
    table = fit.popularity(interval).set_index("item")
    ax = axes_for(ax, width=7.0)
    place, step = _places(fit)
    for number, item in enumerate(ids):
        shift = SHIFT * (number - (len(ids) - 1) / 2) * step
        color = SERIES[number % len(SERIES)]
        _draw(table.loc[[item]], place + shift, ax, clean((titles or {}).get(item, item)), color)
    if is_positive(fit):
        ax.set_yscale("log")
        label_popularity(ax.yaxis)
    ax.set(
        xlabel="time: middle of each period" if place.dtype.kind == "M" else "period",
        ylabel=f"popularity z: posterior mean, {interval:.0%} interval",
        title="Popularity over periods (open: no rows)",
    )
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _label_time(ax, place)
    return ax


def _most_rows(fit: Trained) -> list[str]:
    rows = fit.catalogue.count.reshape(-1, fit.catalogue.periods).sum(1)
    return list(fit.catalogue.items[np.argsort(-rows, kind="stable")[:NUMBER]])


def _known(fit: Trained, items: Iterable[Any]) -> list[str]:
    """Return distinct ids as text, in the order given."""
    if isinstance(items, str):
        raise ConfigError(f"PB-C423: items={items!r} is a single string; pass a list of ids")
    listed = list(items)
    if not listed:
        raise DataError("PB-D421: items is empty; pass ids, or leave it out for those with most rows")
    ids = pd.Index(as_text(column_of(listed), "items")).unique()
    unknown = ids[~ids.isin(fit.catalogue.items)]
    if len(unknown):
        raise DataError(f"PB-D049: {len(unknown)} unseen items, first {', '.join(unknown[:5])}; leave them out")
    return list(ids)


def _places(fit: Trained) -> tuple[np.ndarray, Any]:
    """Return where periods stand, `(T,)` dates or numbers, and how far apart."""
    periods, edges = fit.catalogue.periods, fit.catalogue.edges
    if edges is None or edges[0] < FIRST or edges[-1] > LAST:
        return np.arange(float(periods)), 1.0
    middle = (1e3 * (edges[:-1] + edges[1:]) / 2).astype("int64").astype("datetime64[ms]")
    return middle, np.diff(middle).min()


def _draw(part: pd.DataFrame, place: np.ndarray, ax: Axes, name: str, color: str) -> None:
    """Draw one item's periods: bars and a line through all, filled points where there are rows and open ones elsewhere."""
    mean, known = part["mean"].to_numpy(), part["count"].to_numpy() > 0
    ax.plot(place, mean, color=color, linewidth=0.8, alpha=0.6)
    for rows, fill, label in ((known, color, name), (~known, "white", "_")):
        ends = part["lower"][rows], part["upper"][rows]
        ax.vlines(place[rows], *ends, color=color, linewidth=1.2, linestyles=":" if fill == "white" else "-")
        ax.plot(place[rows], mean[rows], "o", color=color, markerfacecolor=fill, markersize=4.5, label=label)


def _label_time(ax: Axes, place: np.ndarray) -> None:
    if place.dtype.kind == "M":
        ax.xaxis.set_major_formatter(ConciseDateFormatter(ax.xaxis.get_major_locator()))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
