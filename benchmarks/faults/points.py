"""Disturb a command at every call of the system that changes files, and look at what is left; run by `injected`.

`python benchmarks/faults/points.py COMMAND FAULT EVERY SEED OUT` with `inject.c` preloaded; EVERY is a stride over the calls,
or the number of random kills, whose times the seed decides.
"""

import ctypes
import errno
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.commands import BY_NAME, Command, prepare

COUNT, KILL, KILL_HALFWAY, FAIL_ONCE, FAIL_FROM = range(5)
FAULTS = {
    "kill": (KILL, 0),
    "kill halfway": (KILL_HALFWAY, 0),
    "ENOSPC": (FAIL_FROM, errno.ENOSPC),
    "EDQUOT": (FAIL_FROM, errno.EDQUOT),
    "EIO": (FAIL_ONCE, errno.EIO),
}
OLD = b"what was there before\n"
library = ctypes.CDLL(None)


def forked(work: Callable[[], int], said: Path, *, seconds: float | None = None) -> int:
    """Return the exit code of some work in a child, negative for a signal; it is killed after some seconds, if given."""
    child = os.fork()
    if child == 0:
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 2)
        os.dup2(handle, 1)
        code = 70
        try:
            code = work()
        except BaseException as error:
            sys.stderr.write(f"Traceback: {type(error).__name__}: {error}\n")
        finally:
            sys.stderr.flush()
            library.inject_arm(b"", -1, COUNT, 0)
            os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Disturbed:
    """A command and what an undisturbed one leaves."""

    def __init__(self, command: Command, scratch: Path) -> None:
        self.command, self._scratch, self._number = command, scratch, 0
        self._template, self.said = scratch / "template", scratch / "said"
        self._template.mkdir()
        if forked(lambda: prepare(self._template) or 0, self.said):
            raise RuntimeError(self.said.read_text())
        if command.replaces:
            for name in command.outputs:
                (self._template / name).write_bytes(OLD)
        folder = self.new()
        counted = scratch / "counted"

        def work() -> int:
            code = self._armed(folder, -1, COUNT, 0)
            counted.write_text(str(library.inject_seen()))
            return code

        began = time.monotonic()
        if forked(work, self.said):
            raise RuntimeError(self.said.read_text())
        self.seconds = time.monotonic() - began
        self.points = int(counted.read_text())
        self.right = {name: _content(folder, name) for name in command.outputs}

    def new(self) -> Path:
        """Return a new copy of the folder."""
        self._number += 1
        return shutil.copytree(self._template, self._scratch / f"{self._number}")

    def _armed(self, folder: Path, at: int, action: int, number: int) -> int:
        os.chdir(folder)
        library.inject_arm(os.fsencode(folder), ctypes.c_long(at), action, number)
        return self.command.run()

    def fault(self, folder: Path, at: int, fault: str) -> int:
        """Return the exit code with a fault at a call."""
        return forked(lambda: self._armed(folder, at, *FAULTS[fault]), self.said)

    def killed(self, folder: Path, seconds: float) -> int:
        """Return the exit code where it is killed after some seconds."""
        return forked(lambda: self._armed(folder, -1, COUNT, 0), self.said, seconds=seconds)

    def again(self, folder: Path) -> int:
        """Return the exit code of what a user would do next: the same, with --resume where the refusal names it."""

        def work(*more: str) -> int:
            os.chdir(folder)
            return self.command.run(*more)

        code = forked(work, self.said)
        if code and "--resume" in self.said.read_text():
            code = forked(lambda: work("--resume"), self.said)
        return code

    def states(self, folder: Path) -> list[str]:
        """Return the outputs that are neither as before nor as they should be."""
        wrong = []
        for name, right in self.right.items():
            now = _content(folder, name) if (folder / name).exists() else None
            if now is not None and now not in ((OLD, right) if self.command.replaces else (right,)):
                wrong.append(name)
        return wrong

    def faults_of_killed(self, folder: Path) -> list[str]:
        """Return what is wrong after a kill, and after going on."""
        found = [f"{name} is half written" for name in self.states(folder) if not self._in_progress(name)]
        code = self.again(folder)
        if code and not ("PB-R101" in self.said.read_text() and self._is_done(folder)):
            return [*found, f"dead end ({code}: {self.said.read_text()[-300:]})"]
        found += [f"{name} differs" for name, right in self.right.items() if _content(folder, name) != right]
        return found + [f"{path.relative_to(folder)} is left" for path in folder.rglob(".tmp-*")]

    def _is_done(self, folder: Path) -> bool:
        return all((folder / name).exists() and _content(folder, name) == right for name, right in self.right.items())

    def _in_progress(self, name: str) -> bool:
        return name.startswith("log/")  # a log is read into its place, and its manifest says how far

    def faults_of_failed(self, folder: Path, code: int, fault: str) -> list[str]:
        """Return what is wrong after an error, and after going on without one."""
        said, found = self.said.read_text(), []
        if code not in (0, 5) or "Traceback" in said or (code and "PB-R" not in said):
            found.append(f"exit code {code}: {said[-300:]}")
        if code and fault != "EIO" and "MB free" not in said:
            found.append(f"does not say how much space is free: {said[-300:]}")
        found += [f"{path.relative_to(folder)} is left" for path in folder.rglob(".tmp-*")]
        return found + self.faults_of_killed(folder)


def _content(folder: Path, name: str) -> bytes:
    """Return what is in an output, which may name its folder."""
    return (folder / name).read_bytes().replace(os.fsencode(folder), b"")


def measured(name: str, fault: str, every: int, seed: str) -> dict[str, object]:
    """Return how many calls a command has, how many were disturbed, and what was wrong after each."""
    with tempfile.TemporaryDirectory() as scratch:
        disturbed, wrong, tried = Disturbed(BY_NAME[name], Path(scratch).resolve()), {}, 0
        random_kills = fault == "random kill"
        draws = random.Random(seed)  # noqa: S311  times of kills
        for at in range(every if random_kills else disturbed.points):
            if not random_kills and at % every:
                continue
            folder, tried = disturbed.new(), tried + 1
            if random_kills:
                disturbed.killed(folder, draws.uniform(0, disturbed.seconds))
                found = disturbed.faults_of_killed(folder)
            else:
                code = disturbed.fault(folder, at, fault)
                killed = fault.startswith("kill")
                found = (
                    disturbed.faults_of_killed(folder) if killed else disturbed.faults_of_failed(folder, code, fault)
                )
            if found:
                wrong[str(at)] = found
            shutil.rmtree(folder)
    return {"points": disturbed.points, "tried": tried, "wrong": wrong}


def warm_up() -> None:
    """Import and use before the forks what each of them would otherwise spend most of its time on."""
    import pyro_popbias.cli.demo  # noqa: F401
    from pyro_popbias import updating

    updating.EPOCHS = 2  # type: ignore[misc]  # more write the same files
    with tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch).resolve())


if __name__ == "__main__":
    name, fault, every, seed, out = sys.argv[1:]
    warm_up()
    Path(out).write_text(json.dumps(measured(name, fault, int(every), seed)), encoding="utf-8")
