"""An item: how popular, how sure that is, what says so, and what the intervention changes for it."""

from typing import Any

import numpy as np
import pandas as pd
from starlette.datastructures import QueryParams

from pyro_popbias.data.overview import cells_of
from pyro_popbias.errors import PopBiasError
from pyro_popbias.explore.opened import Opened, drawn
from pyro_popbias.prediction.item_table import items_table
from pyro_popbias.report.drift_plot import drift
from pyro_popbias.report.fit_plots import is_positive
from pyro_popbias.report.posterior_plot import described_in_words, posterior

SIMILAR = 8
A_LOT, SOMETHING = 1 / 3, 0.8  # of the width of the population, up to which rows tell as much
ALIKE = 0.995  # a similarity from which on all are alike
LEAST_CORRELATION = 0.05  # that is worth a word
ENDS = ("", "_lower", "_upper")


def item(opened: Opened, asked: QueryParams) -> dict[str, Any]:
    """Return what the page of an item shows."""
    one = asked.get("id", "")
    code = opened.code("item", one)
    fit, row = opened.fit, opened.last.iloc[code]
    cells = opened.popularity.iloc[code * opened.periods : (code + 1) * opened.periods]
    pictures = [
        drawn(
            lambda: posterior(fit, one, title=opened.title(one)),
            lambda ax: described_in_words(ax, fit, one),
        )
    ]
    if opened.periods > 1:
        title = f"{opened.title(one)}: popularity in {opened.periods} periods; the table has the numbers"
        pictures.append(drawn(lambda: drift(fit, [one], titles=opened.titles), lambda _: title))
    columns = [name for name in cells.columns if name != "item" and (name != "period" or opened.periods > 1)]
    return {
        "item": one,
        "name": opened.title(one),
        "sentences": [_how_popular(opened, one, row), _how_sure(opened, row), _why(opened, row)],
        "changes": _changes(opened, code),
        "pictures": pictures,
        "columns": [name.replace("_", " ") for name in columns],
        "cells": cells_of(cells[columns]),
        "quality": _quality(opened, code),
        "similar": _similar(opened, one),
        "has_periods": opened.periods > 1,
    }


def _how_popular(opened: Opened, one: str, row: "pd.Series[Any]") -> tuple[str, str]:
    when = " in its last period with rows" if opened.periods > 1 else ""
    ends = "" if pd.isna(row["lower"]) else f" (90 %: {row['lower']:.3g} to {row['upper']:.3g})"
    place = f"place {opened.place[one]:,} of {len(opened.place):,}"
    mean = float(opened.fit.model.prior.population().mean.detach())
    times = f", {row['mean'] / mean:.3g} times the mean of the population" if is_positive(opened.fit) else ""
    return "How popular", f"z = {row['mean']:.3g}{ends}{when}: {place}{times}."


def _how_sure(opened: Opened, row: "pd.Series[Any]") -> tuple[str, str]:
    if row["prior_only"]:
        return "How sure", "No rows say anything about it: only the prior is known."
    if pd.isna(row["lower"]):
        return "How sure", "Not known: the guide is a point and has no interval."
    low, high = opened.population_ends
    ends = np.array([row["lower"], row["upper"]]), np.array([low, high])
    widths = [float(np.diff(np.log(np.maximum(e, 1e-12)) if is_positive(opened.fit) else e)[0]) for e in ends]
    ratio = widths[0] / widths[1]
    on = " on a logarithmic scale" if is_positive(opened.fit) else ""
    words = f"its interval is {ratio:.0%} as wide as the population's{on}"
    much = "a lot" if ratio < A_LOT else "something" if ratio < SOMETHING else "little"
    return "How sure", f"Its rows say {much}: {words}."


def _why(opened: Opened, row: "pd.Series[Any]") -> tuple[str, str]:
    count, positives, all_rows = int(row["count"]), int(row["positives"]), int(opened.last["count"].sum())
    if not count:
        return "Why", "It has no rows at all."
    of_all = opened.last["positives"].sum() / max(all_rows, 1)
    liked = "" if of_all == 1 else f" Positive: {positives:,} ({positives / count:.1%}; {of_all:.1%} over all items)."
    more = int((opened.last["count"] > count).sum())
    return (
        "Why",
        f"It has {count:,} of {all_rows:,} rows; {more:,} {'item has' if more == 1 else 'items have'} more.{liked}",
    )


def _changes(opened: Opened, code: int) -> str:
    """Return in how many lists the item is under each mode, in words; empty while that is not known."""
    found = opened.late.get("modes")
    if not isinstance(found, dict):
        return ""
    own, after = (int(found[mode].counts[code]) for mode in ("posterior", "population"))
    users = found["population"].users
    which = "all users" if users == len(opened.fit.catalogue.users) else f"{users:,} users drawn at random"
    return f"In lists of ten for {which} it is shown to {own:,} at its own popularity, and to {after:,} at the population's."


def _quality(opened: Opened, code: int) -> dict[str, Any] | None:
    """Return the quality of an item beside its popularity; None where items have none."""
    fit = opened.fit
    if fit.model.affinity.item_quality is None:
        return None
    row = items_table(fit.model, fit.guide, fit.catalogue, interval=0.9, some=np.array([code])).iloc[0]
    kept, *ends = ("" if pd.isna(row[f"quality_share{end}"]) else f"{row[f'quality_share{end}']:.0%}" for end in ENDS)
    if kept and ends[0] != ends[1]:
        kept += f" (90 %: {ends[0]} to {ends[1]})"
    quality = f"{row['quality']:+.2f} logits (90 %: {row['quality_lower']:+.2f} to {row['quality_upper']:+.2f})"
    related = abs(row["correlation"]) >= LEAST_CORRELATION
    return {"quality": quality, "kept": kept, "correlation": f"{row['correlation']:.2f}" if related else ""}


def _similar(opened: Opened, one: str) -> dict[str, Any]:
    """Return the items most like an item, or why there are none."""
    try:
        table = opened.fit.similar(one, SIMILAR)
    except PopBiasError as error:
        return {"rows": [], "why": sentence(str(error).partition(": ")[2])}
    rows = [(row.item, opened.title(row.item), f"{row.similarity:.2f}", int(row.rows)) for row in _named(table)]
    alike = len(table) and table["similarity"].min() >= ALIKE
    return {
        "rows": rows,
        "why": "Many items are as similar as these: vectors have few dimensions left." if alike else "",
    }


def sentence(words: str) -> str:
    """Return words as a sentence."""
    return f"{words[:1].upper()}{words[1:]}."


def _named(table: pd.DataFrame) -> Any:
    return table.rename(columns={"count": "rows"}).itertuples(index=False)
