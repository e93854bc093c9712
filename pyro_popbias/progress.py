"""Progress of long work: a bar on a terminal, and a line every few seconds in the log `pyro_popbias`.

The command line shows the log on standard error if that is not a terminal, and keeps it in the run folder.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

SECONDS_BETWEEN_LINES = 10.0
log = logging.getLogger("pyro_popbias")


class TrainingProgress:
    """Shows a training's epochs; a context manager.

    Args:
        epochs: epochs of phase one.
        show: False shows nothing.
        title: what is trained, in front of the phase.
    """

    def __init__(self, epochs: int, *, show: bool = True, title: str = "") -> None:
        self._epochs, self._title = epochs, title
        self._bar: Progress | None = None
        self._shown = -SECONDS_BETWEEN_LINES
        if show and sys.stderr.isatty():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[now]}"),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(f"{title}phase 1", total=epochs, now="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, phase: int, row: dict[str, float]) -> None:
        """Show the row of the history that an epoch has added."""
        now = f"elbo {row['elbo']:,.0f}, held-out log-score {row['validation_log_score']:.4f}"
        number = int(row["epoch"])
        if self._bar is not None:
            total = self._epochs if row["phase"] == 1 else None
            description = f"{self._title}phase {int(row['phase'])}"
            self._bar.update(self._task, description=description, total=total, completed=number, now=now)
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
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[now]}"))
        hidden = not (show and sys.stderr.isatty())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden)
        self._task = self._bar.add_task(what, total=total, now="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._bar.stop()

    def line(self, text: str) -> None:
        """Show a line of one of the processes, and log it."""
        self._bar.update(self._task, now=text)
        log.info("%s", text)

    def done(self) -> None:
        """Count a piece of work that is done."""
        self._bar.advance(self._task)


def counted(total: int, what: str) -> Iterator[int]:
    """Yield 0 to total - 1, with a bar on a terminal, and else a line every few seconds in the log."""
    with measured(total, what) as show:
        for number in range(total):
            yield number
            show(number + 1)


@contextmanager
def measured(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Give a function that shows how much of a total is done: on a terminal by a bar, and else by a line every few seconds."""
    shown = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    on_terminal = sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not on_terminal) as bar:
        task = bar.add_task(what, total=total)

        def show(done: int) -> None:
            nonlocal shown
            bar.update(task, completed=done)
            if time.monotonic() - shown >= SECONDS_BETWEEN_LINES:
                shown = time.monotonic()
                log.info("%s: %d of %d", what, done, total)

        yield show
