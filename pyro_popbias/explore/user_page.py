"""A user: the list under each mode of popularity, and what the user has had."""

from typing import Any

import numpy as np
from starlette.datastructures import QueryParams

from pyro_popbias.explore.listing import DEEP, listing_of, ranks_of, scale_of
from pyro_popbias.explore.opened import Opened, drawn
from pyro_popbias.explore.shown import LENGTH

HAD = 30  # rows of the user that are shown


def user(opened: Opened, asked: QueryParams) -> dict[str, Any]:
    """Return what the page of a user shows."""
    one = asked.get("id", "")
    code = opened.code("user", one)
    deep = {mode: opened.recommend([one], mode, DEEP) for mode in opened.modes}
    short = {mode: table.head(LENGTH) for mode, table in deep.items()}
    scale = scale_of(list(deep.values()), LENGTH)
    own, debiased = ranks_of(deep["posterior"]), ranks_of(deep["population"])
    listings, orders = [], dict[tuple[str, ...], str]()
    for mode, table in short.items():
        is_own = mode == "posterior"
        listings.append(
            listing_of(
                opened,
                mode,
                table,
                scale=scale,
                others=debiased if is_own else own,
                towards="to" if is_own else "from",
                like=orders.setdefault(tuple(table["item"]), mode),
            )
        )
    return {
        "user": one,
        "listings": listings,
        "scale": scale,
        "answer": _answer(set(short["population"]["item"]), set(short["posterior"]["item"]), listings),
        "unsaved": opened.fit.unsaved if opened.seen is None else "",
        "facts": _facts(opened, code, one),
        "had": _had(opened, code),
        "picture": _picture(opened, one) if any(len(table) for table in short.values()) else None,
    }


def _answer(debiased: set[str], own: set[str], listings: Any) -> str:
    """Return what the intervention changes, in a sentence."""
    new = len(debiased - own)
    rows = {listing.mode: listing.mean_rows for listing in listings}
    if not debiased or not own:
        return "Nothing is left to list."
    changed = (
        f"{new} of {len(debiased)} items {'is' if new == 1 else 'are'} different"
        if new
        else "the same items are listed"
    )
    return (
        f"Without an item's own popularity in the score, {changed}, and listed items have {rows['population']:,.0f} rows "
        f"on average, instead of {rows['posterior']:,.0f}."
    )


def _facts(opened: Opened, code: int, one: str) -> list[tuple[str, str]]:
    catalogue, fit = opened.fit.catalogue, opened.fit
    found = []
    if catalogue.user_count is not None and catalogue.user_positives is not None:
        count, positives = int(catalogue.user_count[code]), int(catalogue.user_positives[code])
        share = f", {positives:,} of them positive ({positives / count:.0%})" if count else ""
        found.append(("rows", f"{count:,}{share}"))
    if fit.model.affinity.user_bias is not None or fit.model.conformity is not None:
        row = opened.users.loc[one]
        if "mean" in row:
            found.append(
                ("bias", f"{row['mean']:+.2f} logits (90 %: {row['lower']:+.2f} to {row['upper']:+.2f}) for any item")
            )
        if "gamma_mean" in row:
            ends = f"(90 %: {row['gamma_lower']:.2f} to {row['gamma_upper']:.2f})"
            found.append(("conformity", f"{row['gamma_mean']:.2f} {ends}: how far the user follows popularity"))
    return found


def _had(opened: Opened, code: int) -> dict[str, Any] | None:
    """Return the user's rows, the positive ones of popular items first; None where they are not known."""
    events = opened.fit.events
    if events is None or events.stored is not None:
        return None
    rows = np.flatnonzero(events.user == code)
    label = np.ones(len(rows)) if events.label is None else np.asarray(events.label)[rows]
    ids = events.items[events.item[rows]]
    counts = opened.last["count"].reindex(ids).fillna(0).to_numpy()
    order = np.lexsort((-counts, -label))[:HAD]
    shown = [(ids[n], opened.title(ids[n]), bool(label[n] > 0), int(counts[n])) for n in order]
    return {"rows": shown, "number": len(rows), "labelled": events.label is not None}


def _picture(opened: Opened, one: str) -> Any:
    words = "The list at each item's own popularity, and the debiased list; lines join the ranks of an item in both"
    return drawn(lambda: opened.effect(one), lambda _: words)
