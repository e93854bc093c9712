"""Search over items and users."""

from typing import Any

from starlette.datastructures import QueryParams

from pyro_popbias.explore.opened import Opened
from pyro_popbias.explore.search import MOST

LONGEST = 200  # characters of what is searched for


def search(opened: Opened, asked: QueryParams) -> dict[str, Any]:
    """Return what the page of a search shows."""
    words = asked.get("q", "").strip()[:LONGEST]
    items, users = opened.items_index.search(words), opened.users_index.search(words)
    return {
        "q": words,
        "items": items,
        "users": users,
        "names": {item: opened.title(item) for item in items.ids},
        "rows_of": opened.last["count"].reindex(list(items.ids)).to_dict(),
        "popularity_of": opened.last["mean"].reindex(list(items.ids)).to_dict(),
        "most": MOST,
    }
