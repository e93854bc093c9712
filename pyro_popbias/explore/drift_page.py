"""Drift: how popularity goes over the periods, of chosen items, and whose popularity has moved most."""

from typing import Any

import numpy as np
import pandas as pd
from starlette.datastructures import QueryParams

from pyro_popbias.data.overview import cells_of
from pyro_popbias.explore.item_page import item_code
from pyro_popbias.explore.opened import Opened, drawn
from pyro_popbias.report.drift_plot import drift as drift_plot
from pyro_popbias.report.fit_plots import is_positive

MOST_ITEMS = 8  # of a picture
MOVERS = 10  # up, and down


def drift(opened: Opened, asked: QueryParams) -> dict[str, Any]:
    """Return what the page of drift shows."""
    if opened.periods == 1:
        return {"periods": 1}
    chosen = list(dict.fromkeys(item_code(opened, one)[1] for one in asked.getlist("item")))[:MOST_ITEMS]
    shown = chosen or list(opened.last.sort_values("count", ascending=False, kind="stable").index[:5])
    table = opened.popularity[opened.popularity["item"].isin(shown)]
    up, down = _movers(opened)
    return {
        "periods": opened.periods,
        "chosen": [(one, opened.title(one), [other for other in chosen if other != one]) for one in chosen],
        "picture": drawn(
            lambda: drift_plot(opened.fit, shown, titles=opened.titles),
            lambda _: f"Popularity of {len(shown)} items in {opened.periods} periods, with 90 % intervals; see the table",
        ),
        "columns": [name.replace("_", " ") for name in table.columns],
        "cells": cells_of(table.assign(item=table["item"].map(opened.title))),
        "movers": {"Risen": up, "Fallen": down},
        "unit": "times" if is_positive(opened.fit) else "by",
        "kept": chosen,
    }


def _movers(opened: Opened) -> tuple[list[Any], list[Any]]:
    """Return the items that have risen and fallen most between their first and their last period with rows."""
    table = opened.popularity
    known = table[table["count"] > 0].groupby("item", sort=False)
    first, last = known.first(), known.last()
    real = not is_positive(opened.fit)
    moved = last["mean"] - first["mean"] if real else np.log(last["mean"] / first["mean"])
    moved = moved[first["period"] < last["period"]].sort_values(kind="stable")
    return [_rows(opened, part, first, last, real=real) for part in (moved[moved > 0][::-1], moved[moved < 0])]  # type: ignore[return-value]


def _rows(opened: Opened, moved: "pd.Series[float]", first: pd.DataFrame, last: pd.DataFrame, *, real: bool) -> list[Any]:
    found = []
    for item, by in moved.head(MOVERS).items():
        one, other = first.loc[item], last.loc[item]
        apart = one["upper"] < other["lower"] or other["upper"] < one["lower"]
        found.append(
            (
                item,
                opened.title(str(item)),
                f"{by:+.2f}" if real else f"{np.exp(by):.2f}",
                f"{one['mean']:.3g} to {other['mean']:.3g}",
                "yes" if apart else "no",
                int(one["count"] + other["count"]),
            )
        )
    return found
