"""A fit that is read while the server is already there: importing torch alone takes longer than a server takes to start."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from pyro_popbias.explore.explorer import Explorer

IDLE = 5.0  # seconds after which nobody seems to wait for the first page


@final
class Opening:
    """What reads a fit beside the server.

    Attributes:
        failure: what went wrong; None where nothing has.
    """

    def __init__(self, read: Callable[[], "Explorer"], *, failed: Callable[[], None] = lambda: None) -> None:
        self._read = read
        self._failed = failed
        self._found: Explorer | None = None
        self._since = time.monotonic()
        self._done, self._answered, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="opening", daemon=True)
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Begin to read."""
        self._since = time.monotonic()
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found = self._read()
        except BaseException as error:  # the main thread raises it again
            self.failure = error
            self._failed()
        self._done.set()
        if self._found is not None:
            self._answered.wait(IDLE)  # the first page comes first: threads of Python take turns
            self._found.prepare(self._ended.is_set)

    @property
    def seconds(self) -> float:
        """How long it has been read for."""
        return time.monotonic() - self._since

    def wait(self, seconds: float) -> "Explorer | None":
        """Return the fit as soon as it is there; None where that takes longer."""
        self._done.wait(seconds)
        return self._found

    def answered(self) -> None:
        """Take note that a page of the fit has been answered."""
        self._answered.set()

    def join(self) -> None:
        """Wait until what is computed beside the pages is there too."""
        self._thread.join()

    def end(self, seconds: float) -> bool:
        """Compute nothing more; return whether what was under way has ended within some seconds."""
        self._ended.set()
        self._answered.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()
