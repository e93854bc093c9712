"""What answers for each address, once the fit has been read."""

from collections.abc import Callable
from typing import Any, final

from starlette.datastructures import QueryParams

from pyro_popbias.errors import PopBiasError
from pyro_popbias.explore.drift_page import drift
from pyro_popbias.explore.item_page import item
from pyro_popbias.explore.knob_page import knob
from pyro_popbias.explore.not_here import NotHere
from pyro_popbias.explore.opened import Opened
from pyro_popbias.explore.search_page import search
from pyro_popbias.explore.start_page import start
from pyro_popbias.explore.user_page import user

PAGES: dict[str, Callable[[Opened, QueryParams], dict[str, Any]]] = {
    "/": start,
    "/search": search,
    "/item": item,
    "/user": user,
    "/knob": knob,
    "/drift": drift,
}


@final
class Explorer:
    """The pages of a fit.

    Attributes:
        opened: the fit.
    """

    def __init__(self, opened: Opened) -> None:
        self.opened = opened

    def prepare(self, ended: Callable[[], bool]) -> None:
        """Compute what takes longer than a reader waits for a page, until the server has ended."""
        self.opened.prepare(ended)

    def answer(self, path: str, asked: QueryParams) -> tuple[str, dict[str, Any], int]:
        """Return the name of a template, what it shows, and the status of the answer."""
        page = PAGES.get(path)
        common = {"has_drift": self.opened.periods > 1}
        if page is None:
            return "missing", {"kind": "page", "asked": path, **common}, 404
        try:
            return page.__name__, {**page(self.opened, asked), **common}, 200
        except NotHere as reason:
            return "missing", {"kind": reason.kind, "asked": reason.asked, **common}, 404
        except PopBiasError as error:
            return "error", {"error": str(error), **common}, 400
