"""Work side by side: one process per piece of it, one thread each, so that results do not depend on how many run at once.

Processes are spawned anew, so nothing of this process's state reaches them but what is passed. They end with it: on an
error or Ctrl-C they are stopped, and if it is killed they notice. A script that asks for workers needs the usual
`if __name__ == "__main__":`, since each worker imports it.
"""

import logging
import os
import signal
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from pyro_popbias.errors import WorkerError
from pyro_popbias.progress import SideBySide
from pyro_popbias.validation import require_integer

SECONDS_TO_END = 5.0  # after which a worker that was asked to end is killed
log = logging.getLogger("pyro_popbias")


@dataclass(frozen=True, eq=False)
class Worker:
    """A running worker.

    Attributes:
        number: of its piece of work, from 0.
        process: it.
        answers: what it sends.
    """

    number: int
    process: SpawnProcess
    answers: Connection


def require_jobs(jobs: int | None) -> int | None:
    """Return how many workers are asked for; None for this process and all of its threads.

    Raises:
        ConfigError: `jobs` is not an integer >= 1.
    """
    return None if jobs is None else require_integer("jobs", jobs, 1, code="PB-C480")


def at_once(jobs: int | None, pieces: int) -> int:
    """Return how many of some pieces of work run at once; with 1 no other process is needed."""
    return min(jobs or 1, pieces)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread meanwhile, as it does in workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(
    work: Callable[..., Any], pieces: Mapping[str, Sequence[Any]], jobs: int, *, what: str, show: bool = True
) -> list[Any]:
    """Return what `work` returns for each piece of work, in their order; the first error ends all.

    Args:
        work: a function of a module, whose arguments and results can be sent to another process.
        pieces: its arguments, by what a message calls the piece.
        jobs: how many run at once.
        what: the pieces are, for the progress.
        show: whether to show progress on standard error.

    Raises:
        WorkerError: a worker ended without an answer.
    """
    names, waiting, results = list(pieces), deque(enumerate(pieces.values())), {}
    running: dict[Connection, Worker] = {}
    with SideBySide(len(pieces), what, show=show) as progress:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    worker = _started(work, *waiting.popleft())
                    running[worker.answers] = worker
                for ready in wait(list(running)):
                    worker = running[ready]  # type: ignore[index]  # wait returns what it was given
                    kind, value = _answer(worker, names[worker.number])
                    if kind == "line":
                        progress.line(value)
                        continue
                    if kind == "error":
                        raise value
                    results[worker.number] = _with_warnings(*value)
                    del running[worker.answers]
                    _end(worker)
                    progress.done()
        finally:
            for worker in running.values():
                worker.process.terminate()
            for worker in running.values():
                _end(worker)
    return [results[number] for number in range(len(pieces))]


def _started(work: Callable[..., Any], number: int, arguments: Sequence[Any]) -> Worker:
    context = get_context("spawn")
    answers, send = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(send, work, arguments), daemon=True)
    # Ctrl-C goes to all processes of a terminal: workers, which inherit the mask, leave it to this one
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        send.close()  # so that the end of the worker is the end of its answers
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Worker(number, process, answers)


def _answer(worker: Worker, name: str) -> tuple[str, Any]:
    try:
        kind, value = worker.answers.recv()
    except (EOFError, OSError):
        worker.process.join(SECONDS_TO_END)
        code = worker.process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise WorkerError(
            f"PB-C481: the worker of {name} {how} and left no result; lower jobs if memory ran out; in a script, call below "
            '`if __name__ == "__main__":`. What has a checkpoint goes on from it'
        ) from None
    return str(kind), value


def _end(worker: Worker) -> None:
    worker.answers.close()
    worker.process.join(SECONDS_TO_END)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()
    worker.process.close()


def _with_warnings(result: Any, warned: Sequence[tuple[type[Warning], str]]) -> Any:
    """Return a worker's result, with its warnings given here."""
    for category, message in warned:
        warnings.warn(message, category, stacklevel=4)
    return result


class _SentLines(logging.Handler):
    """Sends the lines of the log."""

    def __init__(self, send: Connection) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line, unless nobody listens any more."""
        with suppress(OSError):
            self._send.send(("line", record.getMessage()))


def _run(send: Connection, work: Callable[..., Any], arguments: Sequence[Any]) -> None:
    """Do a piece of work in a worker, and send its log, its warnings and its result."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    log.setLevel(logging.INFO)
    log.addHandler(_SentLines(send))
    log.propagate = False
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("default")
            result = work(*arguments)
        shown = [(each.category, str(each.message)) for each in warned if issubclass(each.category, UserWarning)]
        send.send(("result", (result, shown)))
    except Exception as error:  # whatever it is, it is raised where the work was asked for
        error.add_note("".join(traceback.format_exception(error)))
        send.send(("error", error))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # noqa: S101  a worker has one
    wait([parent.sentinel])
    os._exit(1)
