"""The server: it listens to 127.0.0.1, reads the fit meanwhile, and ends with Ctrl-C."""

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import uvicorn

from pyro_popbias.errors import ConfigError
from pyro_popbias.explore.access import Access, Guard
from pyro_popbias.explore.app import pages
from pyro_popbias.explore.opening import Opening

if TYPE_CHECKING:
    from pyro_popbias.explore.explorer import Explorer

HOST = "127.0.0.1"
PATIENCE = 2  # seconds that a page under way has to be finished when the server ends


def serve(
    read: Callable[[], "Explorer"], *, name: str, about: Sequence[str], port: int, ready: Callable[[str], None]
) -> bool:
    """Serve the pages of a fit until Ctrl-C.

    Args:
        read: reads the fit.
        name: of the run.
        about: lines about it, to read until it has been read.
        port: where to listen; 0 is any that is free.
        ready: is told the address, with its token, once a browser can open it.

    Returns:
        Whether all that was under way has ended: else the process should leave without the steps at its end, which threads that
        compute do not survive.

    Raises:
        ConfigError: the port is not free.
        PopBiasError: what reading the fit has raised.
    """
    with _listener(port) as listener:
        access = Access.to(listener.getsockname()[1])
        opening = Opening(read, failed=lambda: setattr(server, "should_exit", True))
        server = uvicorn.Server(
            uvicorn.Config(
                Guard(pages(opening, name=name, about=about), access),
                log_level="warning",
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=PATIENCE,
            )
        )
        opening.start()
        ready(access.address)
        with suppress(KeyboardInterrupt, SystemExit):  # of the server, which has ended in order
            server.run(sockets=[listener])
    if opening.failure is not None:
        raise opening.failure
    return opening.end(PATIENCE)


def _listener(port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ConfigError: the port is taken, or not for everybody.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"PB-C541: cannot listen on port {port} of {HOST}: {error.strerror}; leave --port out to get a free one"
        ) from error
    return listener
