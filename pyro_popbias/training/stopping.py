"""An orderly end of a training on SIGTERM: it finishes its epoch and saves its checkpoint first."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDED = 128 + signal.SIGTERM  # exit code


class _Asked:
    """Whether SIGTERM has come, and whether a training that saves checkpoints looks."""

    def __init__(self) -> None:
        self.to_end = False
        self.by_training = False


_asked = _Asked()


@contextmanager
def orderly_end() -> Iterator[None]:
    """Turn SIGTERM into `SystemExit` with code 143 meanwhile, after the epoch that is under way.

    A second SIGTERM ends at once: the last checkpoint is whole at any time. Other threads than the first get no signals, and
    nothing changes there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is _end:  # and not on the way out
            signal.signal(signal.SIGTERM, before)
        _asked.to_end = _asked.by_training = False


def ended_after(save: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return what saves a snapshot and then ends the process where SIGTERM has come meanwhile.

    Args:
        save: saves a snapshot.
    """

    def save_and_end(snapshot: Any) -> None:
        save(snapshot)
        if _asked.to_end:
            _leave("stopped by SIGTERM after this epoch's checkpoint; continue with --resume")

    if signal.getsignal(signal.SIGTERM) is not _end:
        return save
    _asked.by_training = True
    return save_and_end


def training_is_over() -> None:
    """Note that no checkpoint comes any more: SIGTERM ends at once again, or now where it has come."""
    _asked.by_training = False
    if _asked.to_end:
        _leave("stopped by SIGTERM after the last epoch; --resume writes the run folder")


def _end(_signal: int, _frame: FrameType | None) -> None:
    if not _asked.by_training or _asked.to_end:
        _leave(
            "stopped by SIGTERM; a fit that has a checkpoint continues with --resume, a search with the same command"
        )
    _asked.to_end = True
    sys.stderr.write("SIGTERM: stopping after this epoch, with its checkpoint; a second one stops at once\n")


def _leave(words: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end is under way
    sys.stderr.write(f"{words}\n")
    raise SystemExit(ENDED)
