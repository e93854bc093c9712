"""Progress of long work: a bar in a notebook or on a terminal, and a line every few seconds in the log `pyro_popbias`.

All the work of a notebook's cell shares one bar, which is gone when the work is done. The command line shows the log on standard
error if that is not a terminal, and keeps it in the run folder.
"""

import html
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_DRAWINGS = 0.2  # in a notebook, to which every drawing is sent
log = logging.getLogger("pyro_popbias")


class _Bar(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def show(self, what: str, completed: int, total: int | None, now: str = "") -> None: ...


class _TerminalBar:
    """A bar on standard error; one that is hidden does nothing."""

    def __init__(self, *, hidden: bool) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[now]}"))
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden)
        self._task = self._bar.add_task("", now="")

    def start(self) -> None:
        self._bar.start()

    def stop(self) -> None:
        self._bar.stop()

    def show(self, what: str, completed: int, total: int | None, now: str = "") -> None:
        self._bar.update(self._task, description=what, completed=completed, total=total, now=now)


class _NotebookBar:
    """A bar in the output of a notebook's cell, in plain HTML: no widget has to be installed, and none is left in the file."""

    def __init__(self, cell: int) -> None:
        self._output = _output_of(cell)
        self._began = time.monotonic()
        self._drawn = -SECONDS_BETWEEN_DRAWINGS

    def start(self) -> None:
        self._began = time.monotonic()

    def stop(self) -> None:
        self._output.update({"text/html": "", "text/plain": ""}, raw=True)

    def show(self, what: str, completed: int, total: int | None, now: str = "") -> None:
        if time.monotonic() - self._drawn < SECONDS_BETWEEN_DRAWINGS:
            return
        self._drawn = time.monotonic()
        of_total, at = (" done", "") if total is None else (f" of {total}", f' value="{completed}" max="{total}"')
        words = f"{what}: {completed}{of_total}, {self._drawn - self._began:.0f} s{now and f', {now}'}"
        drawn = f'<progress aria-label="progress"{at}></progress> <small>{html.escape(words)}</small>'
        self._output.update({"text/html": drawn, "text/plain": words}, raw=True)


@lru_cache(maxsize=1)
def _output_of(cell: int) -> Any:
    """Return the output of the cell that runs, where all its bars are drawn in turn."""
    from IPython.display import DisplayHandle  # there in a notebook

    handle = DisplayHandle(f"pyro-popbias-{cell}-{time.time_ns()}")
    handle.display({"text/html": "", "text/plain": ""}, raw=True)
    return handle


def _cell() -> int | None:
    """Return the number of the cell that runs in a notebook; None elsewhere."""
    ipython = sys.modules.get("IPython")  # a notebook has imported it
    shell: Any = None if ipython is None else ipython.get_ipython()
    return None if getattr(shell, "kernel", None) is None else int(shell.execution_count)


def _bar(*, show: bool = True) -> _Bar:
    """Return a bar where somebody looks at one."""
    cell = None if not show or sys.stderr.isatty() else _cell()
    return _TerminalBar(hidden=not (show and sys.stderr.isatty())) if cell is None else _NotebookBar(cell)


class TrainingProgress:
    """Shows a training's epochs; a context manager.

    Args:
        epochs: epochs of phase one.
        show: False shows nothing.
        title: what is trained, in front of the phase.
    """

    def __init__(self, epochs: int, *, show: bool = True, title: str = "") -> None:
        self._epochs, self._title = epochs, title
        self._bar = _bar(show=show)
        self._shown = -SECONDS_BETWEEN_LINES

    def __enter__(self) -> Self:
        self._bar.start()
        self._bar.show(f"{self._title}phase 1", 0, self._epochs)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._bar.stop()

    def __call__(self, phase: int, row: dict[str, float]) -> None:
        """Show the row of the history that an epoch has added."""
        now = f"elbo {row['elbo']:,.0f}, held-out log-score {row['validation_log_score']:.4f}"
        number = int(row["epoch"])
        total = self._epochs if row["phase"] == 1 else None
        self._bar.show(f"{self._title}phase {int(row['phase'])}", number, total, now)
        if time.monotonic() - self._shown >= SECONDS_BETWEEN_LINES or phase == 3:
            self._shown = time.monotonic()
            log.info("%sphase %d, epoch %d: %s", self._title, int(row["phase"]), number, now)


class SideBySide:
    """Shows work that other processes do: how many pieces of it are done, and their latest line; a context manager.

    Args:
        total: number of pieces.
        what: the pieces are.
        show: False shows nothing.
    """

    def __init__(self, total: int, what: str, *, show: bool = True) -> None:
        self._bar, self._total, self._what = _bar(show=show), total, what
        self._done, self._line = 0, ""

    def __enter__(self) -> Self:
        self._bar.start()
        self._draw()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._bar.stop()

    def line(self, text: str) -> None:
        """Show a line of one of the processes, and log it."""
        self._line = text
        self._draw()
        log.info("%s", text)

    def done(self) -> None:
        """Count a piece of work that is done."""
        self._done += 1
        self._draw()

    def _draw(self) -> None:
        self._bar.show(self._what, self._done, self._total, self._line)


def counted(total: int, what: str) -> Iterator[int]:
    """Yield 0 to total - 1, with a bar where somebody looks at it, and else a line every few seconds in the log."""
    with measured(total, what) as show:
        for number in range(total):
            yield number
            show(number + 1)


@contextmanager
def measured(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Give a function that shows how much of a total is done: by a bar, and by a line every few seconds in the log."""
    shown = time.monotonic()
    bar = _bar()

    def show(done: int) -> None:
        nonlocal shown
        bar.show(what, done, total)
        if time.monotonic() - shown >= SECONDS_BETWEEN_LINES:
            shown = time.monotonic()
            log.info("%s: %d of %d", what, done, total)

    bar.start()
    bar.show(what, 0, total)
    try:
        yield show
    finally:
        bar.stop()
