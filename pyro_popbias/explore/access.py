"""Who may see the pages: who has the token, on this machine, in pages of this server.

| against | what is asked of a request |
| --- | --- |
| other people and programs of this machine | a random token in the address that the command prints, then in a cookie |
| pages of other sites that guess the port | the cookie goes along only when the browser moves to a page; they read no answer |
| a site whose name is made to mean 127.0.0.1 | the header Host names this machine and the port |
| titles and ids that would like to be scripts | all text is escaped, and the policy allows this server's own files alone |
"""

import secrets
from dataclasses import dataclass
from typing import final
from urllib.parse import urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = "token"  # noqa: S105  the name of a query parameter
POLICY = {
    "default-src": "'none'",
    "img-src": "data:",
    "style-src": "'self'",
    "script-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Access:
    """What lets in.

    Attributes:
        port: of the server.
        token: a random text.
    """

    port: int
    token: str

    @classmethod
    def to(cls, port: int) -> "Access":
        """Return that of a server, with a token of 256 random bits."""
        return cls(port, secrets.token_urlsafe(32))

    @property
    def address(self) -> str:
        """Where a browser is sent first."""
        return f"http://127.0.0.1:{self.port}/?{urlencode({TOKEN: self.token})}"

    @property
    def cookie(self) -> str:
        """The name of the cookie, with the port, as ports of a machine share their cookies."""
        return f"popbias-explore-{self.port}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """What the header Host may say."""
        return f"127.0.0.1:{self.port}", f"localhost:{self.port}"

    def opens(self, given: str) -> bool:
        """Return whether a text is the token, in a time that does not depend on where it differs."""
        return secrets.compare_digest(given.encode("utf-8", "replace"), self.token.encode())


@final
class Guard:
    """Refuses what may not see the pages, and gives every answer its headers."""

    def __init__(self, pages: ASGIApp, access: Access) -> None:
        self.pages = pages
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, itself or by the pages."""
        if scope["type"] != "http":
            return  # pages have no web sockets, and nothing to do at start and end

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._answer(Request(scope)) or self.pages
        await answer(scope, receive, with_headers)

    def _answer(self, request: Request) -> Response | None:
        """Return what is answered before any page is asked; None where the request may pass."""
        access, given = self.access, request.query_params.get(TOKEN)
        if request.headers.getlist("host") not in [[host] for host in access.hosts]:
            return PlainTextResponse(f"This server answers to {' and '.join(access.hosts)} only.\n", 400)
        if request.method != "GET":
            return PlainTextResponse("Pages are read, with GET, and never written to.\n", 405, {"Allow": "GET"})
        if given is not None and access.opens(given):
            rest = [(name, value) for name, value in request.query_params.multi_items() if name != TOKEN]
            path = "/" + request.url.path.lstrip("/")  # two slashes would name another host
            moved = RedirectResponse(f"{path}?{urlencode(rest)}" if rest else path, 303)
            moved.set_cookie(access.cookie, access.token, httponly=True, samesite="lax")
            return moved
        if given is None and access.opens(request.cookies.get(access.cookie, "")):
            return None
        return PlainTextResponse("Open the address that popbias explore printed: it holds the token.\n", 403)
