"""The knob: a user's list at a share of items' own popularity, and beside it what that costs and gains."""

from typing import Any

import numpy as np
import pandas as pd
from starlette.datastructures import QueryParams

from pyro_popbias.data.overview import cells_of
from pyro_popbias.errors import PopBiasError
from pyro_popbias.explore.listing import DEEP, Listing, listing_of, ranks_of, scale_of
from pyro_popbias.explore.opened import Opened, drawn
from pyro_popbias.explore.shown import LENGTH, Shown
from pyro_popbias.report import trade_off_plot
from pyro_popbias.report.share_plot import along_the_share

STEP = 0.05  # of the slider, from 0 to 1


def knob(opened: Opened, asked: QueryParams) -> dict[str, Any]:
    """Return what the page of the knob shows."""
    one = asked["user"] if "user" in asked else _usual_user(opened)
    opened.code("user", one)  # which is refused where the fit does not know it
    share = share_of(asked.get("share", ""))
    tables = [opened.recommend([one], at, DEEP) for at in (0.0, share)]
    debiased = tables[0].head(LENGTH)
    listing = listing_of(
        opened,
        "share",
        tables[1].head(LENGTH),
        scale=scale_of(tables, LENGTH),
        others=ranks_of(tables[0]),
        towards="from",
        head=(f"The list at {share:g}", "arrows compare ranks with the list at 0"),
    )
    return {
        "user": one,
        "share": share,
        "step": STEP,
        "listing": listing,
        "said": f"Share {share:g}: {_said(listing, debiased['item'].tolist())}.",
        "unsaved": opened.fit.unsaved if opened.seen is None else "",
        "lists": _lists(opened, share),
        "trade_off": _trade_off(opened),
    }


def _said(listing: Listing, debiased: list[str]) -> str:
    """Return how a list differs from the one at 0."""
    items = [place.item for place in listing.places]
    if not items:
        return "nothing is left to list"
    new = len(set(items) - set(debiased))
    same = "the debiased list" if items == debiased else "the items of the debiased list in another order"
    other = f"{new} of {len(items)} items {'is' if new == 1 else 'are'} not in the list at 0"
    return f"{other if new else same}; listed items have {listing.mean_rows:,.0f} rows on average"


def share_of(given: str) -> float:
    """Return a share between 0 and 1 from the text of a form: 0.5 where it is none."""
    try:
        share = float(given)
    except ValueError:
        return 0.5
    return round(min(max(share, 0.0), 1.0), 4) if np.isfinite(share) else 0.5


def _usual_user(opened: Opened) -> str:
    """Return a user who has as many rows as most."""
    users, count = opened.fit.catalogue.users, opened.fit.catalogue.user_count
    return str(users[0] if count is None else users[np.argsort(count, kind="stable")[len(users) // 2]])


def _lists(opened: Opened, share: float) -> dict[str, Any]:
    """Return what the lists of a sample of users show along the knob, or why that is not there."""
    found = opened.late.get("shares")
    if not isinstance(found, dict):
        return {"why": _why_not(found)}
    shown: list[Shown] = list(found.values())
    rows = [each.mean_rows for each in shown]
    table = pd.DataFrame(
        {
            "share": list(found),
            "rows per listed item": rows,
            "share of the long tail": [each.tail_share for each in shown],
            "Gini": [each.gini for each in shown],
            "items shown": [each.items for each in shown],
        }
    )
    words = (
        f"Rows of the mean listed item: {rows[0]:,.0f} at a share of 0, {rows[-1]:,.0f} at 1; the knob is at {share:g}"
    )
    return {
        "why": "",
        "users": shown[0].users,
        "picture": drawn(lambda: along_the_share(list(found), rows, at=share), lambda _: words),
        "columns": list(table.columns),
        "cells": cells_of(table),
    }


def _trade_off(opened: Opened) -> dict[str, Any] | None:
    """Return accuracy against popularity bias on the test, or why that is not there; None without a test."""
    if opened.test is None:
        return None
    table = opened.late.get("trade_off")
    if not isinstance(table, pd.DataFrame):
        return {"why": _why_not(table)}
    accuracy, bias = trade_off_plot.metrics_of(table)
    columns = [
        "popularity",
        "share",
        *(f"{name}{end}" for name in (accuracy, bias) for end in ("", "_lower", "_upper")),
    ]
    return {
        "why": "",
        "picture": drawn(lambda: trade_off_plot.trade_off(table), lambda _: trade_off_plot.described_in_words(table)),
        "columns": [name.replace("_", " ") for name in columns],
        "cells": cells_of(table[columns]),
        "notes": list(table.attrs.get("notes", ())),
    }


def _why_not(found: object) -> str:
    if isinstance(found, PopBiasError):
        return f"Not available: {found}"
    return ""
