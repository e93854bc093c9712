"""Drift: how popularity goes over the periods, of chosen items, and whose popularity has moved most."""

from typing import Any

import numpy as np
from starlette.datastructures import QueryParams

from pyro_popbias.data.overview import cells_of
from pyro_popbias.explore.opened import Opened, drawn
from pyro_popbias.report.drift_plot import drift as drift_plot
from pyro_popbias.report.fit_plots import is_positive

MOST_ITEMS = 8  # of a picture
MOVERS = 10  # up, and down


def drift(opened: Opened, asked: QueryParams) -> dict[str, Any]:
    """Return what the page of drift shows."""
    if opened.periods == 1:
        return {"periods": 1}
    chosen = list(dict.fromkeys(asked.getlist("item")))[:MOST_ITEMS]
    for one in chosen:
        opened.code("item", one)  # which is refused where the fit does not know it
    shown = chosen or list(opened.last.sort_values("count", ascending=False, kind="stable").index[:5])
    table = opened.popularity[opened.popularity["item"].isin(shown)]
    up, down = _movers(opened)
    return {
        "periods": opened.periods,
        "chosen": [(one, opened.title(one), [other for other in chosen if other != one]) for one in chosen],
        "picture": drawn(
            lambda: drift_plot(opened.fit, shown, titles=opened.titles),
            lambda _: f"Popularity of the items shown in {opened.periods} periods, with 90 % intervals; see the table",
        ),
        "columns": [name.replace("_", " ") for name in table.columns],
        "cells": cells_of(table.assign(item=table["item"].map(opened.title))),
        "movers": {"Risen": up, "Fallen": down},
        "unit": "factor" if is_positive(opened.fit) else "change",
        "kept": shown,
    }


def _movers(opened: Opened) -> tuple[list[Any], list[Any]]:
    """Return the items that have risen and fallen most between their first and their last period with rows."""
    known = opened.popularity[opened.popularity["count"] > 0].groupby("item", sort=False)
    first, last = known.first(), known.last()
    real = not is_positive(opened.fit)
    mean, before = last["mean"].to_numpy(), first["mean"].to_numpy()
    moved = mean - before if real else np.log(mean / before)
    moved[(first["period"] == last["period"]).to_numpy()] = 0.0
    order = np.argsort(moved, kind="stable")
    down, up = order[moved[order] < 0][:MOVERS], order[::-1][moved[order[::-1]] > 0][:MOVERS]

    def row(place: int) -> tuple[Any, ...]:
        item, one, other = str(first.index[place]), first.iloc[place], last.iloc[place]
        apart = one["upper"] < other["lower"] or other["upper"] < one["lower"]
        by = f"{moved[place]:+.2f}" if real else f"{np.exp(moved[place]):.2f}"
        ends = f"{one['mean']:.3g} to {other['mean']:.3g}"
        return item, opened.title(item), by, ends, "yes" if apart else "no"

    return [row(place) for place in up], [row(place) for place in down]
