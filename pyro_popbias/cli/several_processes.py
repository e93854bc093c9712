"""A command that torchrun has started in several processes: the first one reports and writes, the others take part."""

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Never

from pyro_popbias.errors import ConfigError, LostRankError

SHARED = "fit"  # the command whose work is shared


@contextmanager
def one_of_several(arguments: Sequence[str]) -> Iterator[str]:
    """Prepare this process for its part of a command, and yield how its messages open; nothing where it is alone.

    Args:
        arguments: of the command line.

    Raises:
        ConfigError: the command runs in one process only.
        LostRankError: torchrun has ended this process, because another one has ended.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        with _stopped_in_order():
            yield ""
        return
    from pyro_popbias.training.environment import Launch

    launch = Launch.here()
    if arguments[:1] != [SHARED]:
        raise ConfigError(
            f"PB-C474: torchrun has started {launch.processes} processes of popbias {' '.join(arguments[:1])}, which would all "
            f"do the same; only popbias {SHARED} shares its work, start the others without torchrun"
        )
    signal.signal(signal.SIGTERM, _ended)
    if launch.leads:
        yield ""
        return
    log = logging.getLogger("pyro_popbias")
    level = log.level
    log.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the first process has the same ones
        try:
            yield f"process {launch.rank}: "
        finally:
            log.setLevel(level)


@contextmanager
def _stopped_in_order() -> Iterator[None]:
    """Clean up on SIGTERM meanwhile, and end with the exit code that a shell gives for it; fits save a checkpoint first."""
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return
    before = signal.signal(signal.SIGTERM, _stopped)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is _stopped:  # and not on the way out
            signal.signal(signal.SIGTERM, before)


def _stopped(_signal: int, _frame: FrameType | None) -> Never:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end is under way
    sys.stderr.write(
        "stopped by SIGTERM; a fit that has a checkpoint continues with --resume, a search with the same command\n"
    )
    raise SystemExit(128 + signal.SIGTERM)


def _ended(_signal: int, _frame: FrameType | None) -> Never:
    raise LostRankError(
        "PB-R151: stopped by SIGTERM, as torchrun does when another process of the fit has ended; the run folder keeps its last "
        "checkpoint, continue by the same command with --resume"
    )


def leave(code: int) -> Never:
    """End this process at once: threads of torch that wait for lost processes would abort an orderly end.

    Args:
        code: exit code.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
