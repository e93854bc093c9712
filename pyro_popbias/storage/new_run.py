"""A run folder while it is fitted: locked, with a log and the checkpoints of every restart."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.data.regular_files import refuse_links
from pyro_popbias.storage.checkpoints import Checkpoints
from pyro_popbias.storage.folder_state import (
    CHECKPOINTS,
    LOCK,
    LOG,
    Holds,
    held_by,
    refuse_run,
    refuse_to_resume,
    remove_leftovers,
)
from pyro_popbias.storage.identity import identity
from pyro_popbias.storage.lock import locked
from pyro_popbias.storage.run_folder import write_run
from pyro_popbias.storage.run_names import require_name
from pyro_popbias.trained import Trained
from pyro_popbias.training.environment import Launch
from pyro_popbias.training.restarts import Checkpointing
from pyro_popbias.training.state import Snapshot
from pyro_popbias.training.stopping import ended_after, orderly_end, training_is_over


class NewRun:
    """A folder that a fit is written to; a context manager. Nothing on disk changes before the first pair is there.

    With `resume`, each restart continues from its own last checkpoint, and one without a checkpoint from its beginning.

    Args:
        folder: new, or with leftovers of a fit that had no checkpoint yet; with `resume`, of a fit that was started.
        restarts: number of restarts of the fit.
        resume: whether to continue from the checkpoints.

    Raises:
        RunFolderError: the folder holds what would be overwritten, or nothing to resume.
        ConfigError: the name of a new folder is not a plain one, or it is a symbolic link.
    """

    def __init__(self, folder: Path, *, restarts: int = 1, resume: bool = False) -> None:
        self._folder, self._resume = folder if resume else require_name(folder), resume
        self._checkpointing = partial(_of_restart, folder, restarts, resume)
        self._scope = ExitStack()
        self._check()

    @property
    def starts_over(self) -> bool:
        """Whether there is no checkpoint to resume, though it was asked for."""
        return self._resume and held_by(self._folder) is Holds.LEFTOVERS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scope.__exit__(kind, error, trace)

    def checkpoints(self, restart: int, pair: Pair) -> tuple[Snapshot | None, Callable[[Snapshot], None]]:
        """Return the snapshot to resume a restart from, and what saves its snapshots.

        Args:
            restart: its number, from 1.
            pair: its pair, before training.

        Raises:
            CheckpointError: its checkpoints belong to another study or other data.
            RunLockedError: another process fits in the folder.
        """
        resume, save = self._checkpointing(restart, pair)
        if restart == 1:
            self._begin()
        return resume, ended_after(save)

    def checkpoints_elsewhere(self, pair: Pair) -> Checkpointing:
        """Return what `checkpoints` is in other processes, for which this one holds the folder from now on.

        Args:
            pair: of the first restart, before training.

        Raises:
            CheckpointError: its checkpoints belong to another study or other data.
            RunLockedError: another process fits in the folder.
        """
        self._checkpointing(1, pair)  # refuses those of another run
        self._begin()
        return self._checkpointing

    def finish(self, fit: Trained, *, data: bool) -> None:
        """Write the files of the finished run.

        Args:
            fit: the fit.
            data: whether the interactions are written too.
        """
        training_is_over()
        write_run(fit, self._folder, data=data)

    def _check(self) -> None:
        (refuse_to_resume if self._resume else refuse_run)(self._folder)

    def _begin(self) -> None:
        refuse_links(*(self._folder / name for name in (LOCK, LOG, CHECKPOINTS)))
        refuse_links(*(self._folder / CHECKPOINTS).rglob("*"))
        self._scope.enter_context(locked(self._folder))
        self._check()  # again: another fit may have finished while this one read its data
        remove_leftovers(self._folder)
        self._scope.enter_context(_logged(self._folder / LOG))
        if Launch.here().processes == 1:  # else torchrun ends all of them
            self._scope.enter_context(orderly_end())


def _of_restart(
    folder: Path, restarts: int, resume: bool, number: int, pair: Pair
) -> tuple[Snapshot | None, Callable[[Snapshot], None]]:
    own = Checkpoints(folder, identity(pair, restarts=restarts), restart=number)
    return own.latest() if resume else None, own.save


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Append the package's log to a file meanwhile."""
    handler = _LogFile(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("pyro_popbias")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


class _LogFile(logging.FileHandler):
    """A log that is lost where it cannot be written, on a full disk for example; the fit goes on."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        """Say nothing: the trace that logging would print is not the user's."""

    def close(self) -> None:
        with suppress(OSError):
            super().close()
