"""A user's list as a page shows it: scores with their intervals, ties, and where items come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd

from pyro_popbias.explore.opened import Opened

MODES = {
    "population": ("Debiased", "every item as popular as the population"),
    "prior": ("By priors", "each item as popular as its prior says"),
    "posterior": ("As observed", "each item as popular as it is"),
    "forecast": ("Next period", "each item as popular as forecast"),
    "none": ("Affinity alone", "popularity left out"),
}
DEEP = 200  # rank up to which an item is looked for in another list
NONE = "no popularity"


@final
@dataclass(frozen=True)
class Place:
    """An item of a list.

    Attributes:
        rank: from 1.
        item: its id.
        name: its title, or its id.
        rows: how often it was seen.
        score: with two or three digits.
        interval: of the score in words; empty where it is not known.
        bar: places of the lower end, the score and the upper end from 0 to 100; the ends are None where not known.
        moved: where it is in the list that this one is compared with, in words; empty where that says nothing.
        kind: rise, fall or same.
    """

    rank: int
    item: str
    name: str
    rows: int
    score: str
    interval: str
    bar: tuple[float | None, float, float | None]
    moved: str
    kind: str


@final
@dataclass(frozen=True)
class Listing:
    """A list under one popularity.

    Attributes:
        mode: its name in the package.
        heading: what it is.
        words: what that means.
        places: its items.
        ties: what its intervals say of its order.
        like: the mode whose list holds the same items in the same order; empty for none.
        mean_rows: rows of its items on average.
    """

    mode: str
    heading: str
    words: str
    places: Sequence[Place]
    ties: str
    like: str
    mean_rows: float


def scale_of(tables: Sequence[pd.DataFrame], k: int) -> tuple[float, float]:
    """Return the ends of the scale that the scores of lists, and their intervals, have in common."""
    values = np.concatenate(
        [t.head(k)[["score", "score_lower", "score_upper"]].to_numpy(dtype=float).ravel() for t in tables]
    )
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)


def ties_of(table: pd.DataFrame) -> str:
    """Return what the intervals of a list's scores say of its order."""
    lower, upper = (table[f"score_{end}"].to_numpy(dtype=float) for end in ("lower", "upper"))
    if not len(table):
        return ""
    equal = int((table["score"] == table["score"].iloc[0]).sum())
    of_equal = f" Ranks 1 to {equal} have equal scores." if equal > 1 else ""
    if not np.isfinite(lower).all() or not np.isfinite(upper).all():
        return f"No intervals: affinities are point estimates, so it is not known how sure the order is.{of_equal}"
    overlap = upper >= lower[0]
    if overlap.all() and len(table) > 1:
        return f"All {len(table)} are a tie: each interval overlaps that of rank 1.{of_equal}"
    tied = int(overlap.argmin()) if not overlap.all() else len(table)
    if tied > 1:
        return f"Ranks 1 to {tied} are a tie: their intervals overlap that of rank 1."
    return "Rank 1 is clearly ahead of rank 2." if len(table) > 1 else ""


def listing_of(
    opened: Opened,
    mode: str,
    table: pd.DataFrame,
    *,
    scale: tuple[float, float],
    others: Mapping[str, int],
    towards: str,
    like: str = "",
    head: tuple[str, str] | None = None,
) -> Listing:
    """Return a list as a page shows it.

    Args:
        opened: the fit.
        mode: of popularity.
        table: of `Fit.recommend`, as long as is shown.
        scale: ends of the scale of scores.
        others: rank of items in the list that this one is compared with; empty for none.
        towards: "from" where that list is before this one, "to" where it is after it.
        like: the mode whose list is the same.
        head: heading and words, where the mode has none of its own.
    """
    low, width = scale[0], max(scale[1] - scale[0], 1e-12)
    counts = opened.last["count"]
    places = []
    for row in _rows(table):
        bar = [None if pd.isna(x) else 100 * (x - low) / width for x in (row.score_lower, row.score, row.score_upper)]
        told = bar[0] is not None and bar[2] is not None
        rank = others.get(row.item) if others else None
        before, after = (rank, row.rank) if towards == "from" else (row.rank, rank)
        kind = _kind(before, after)
        places.append(
            Place(
                row.rank,
                row.item,
                opened.title(row.item),
                int(counts[row.item]),
                f"{row.score:.3g}",
                f"{row.score_lower:.3g} to {row.score_upper:.3g}" if told else "",
                (bar[0] if told else None, bar[1] or 0.0, bar[2] if told else None),
                _moved(rank, row.rank, towards) if others else "",
                kind if others else "same",
            )
        )
    heading, words = head or MODES[mode]
    mean = float(np.mean([place.rows for place in places])) if places else np.nan
    return Listing(mode, heading, words, places, ties_of(table), like, mean)


def _rows(table: pd.DataFrame) -> Any:
    return table.itertuples(index=False)


def _kind(before: int | None, after: int | None) -> str:
    one, other = (DEEP + 1 if rank is None else rank for rank in (before, after))
    return "rise" if other < one else "fall" if other > one else "same"


def _moved(rank: int | None, here: int, towards: str) -> str:
    if rank == here:
        return "same rank"
    return f"{towards} {rank}" if rank is not None else f"{towards} beyond {DEEP}"


def ranks_of(table: pd.DataFrame) -> dict[str, int]:
    """Return the rank of each item of a list."""
    return dict(zip(table["item"], table["rank"].astype(int), strict=True))
