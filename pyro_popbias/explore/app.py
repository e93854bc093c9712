"""The pages as an application of Starlette. It imports nothing of the fit, so that it answers at once."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from pyro_popbias.explore.opening import Opening

PATIENCE = 0.3  # seconds that a page waits for the fit before it says so
FILES = {"/explore.css": "text/css", "/explore.js": "text/javascript"}
AGAIN = {"Refresh": "1"}  # seconds until the browser asks again


def pages(opening: Opening, *, name: str, about: Sequence[str]) -> Starlette:
    """Return the pages of a fit.

    Args:
        opening: reads the fit.
        name: of the run.
        about: lines about it, to read until it has been read.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(_template))

    def show(template: str, found: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
        common = {"run": name, "page": template, "q": "", "has_drift": False}
        text = environment.get_template(f"{template}.html").render({**common, **found})
        return HTMLResponse(text, status, headers)

    def page(request: Request) -> Response:
        explorer = opening.wait(PATIENCE)
        if explorer is None:
            return show("waiting", {"about": about, "seconds": f"{opening.seconds:.0f}"}, 200, AGAIN)
        answer = show(*explorer.answer(request.url.path, request.query_params))
        opening.answered()
        return answer

    def file(request: Request) -> Response:
        return Response(_template(request.url.path[1:]), media_type=FILES[request.url.path])

    return Starlette(routes=[*(Route(path, file) for path in FILES), Route("/{path:path}", page)])


@cache
def _template(name: str) -> str:
    return (files("pyro_popbias.explore") / name).read_text(encoding="utf-8")
