"""One mutant against its tests: a copy of the package is changed, and a fork of this process runs them.

The process has imported torch, Pyro and whatever else takes time, and nothing of the package, so that a fork imports
the changed package in a second or two.
"""

import compileall
import contextlib
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

from mutants.sites import ROOT, Mutant
from mutants.tests_of import Choice

WARM = (
    *("torch", "pyro", "pyro.distributions", "pyro.infer", "pandas", "pyarrow.parquet", "pyarrow.csv", "scipy.stats"),
    *("scipy.sparse", "scipy.special", "pydantic", "tomli_w", "typer", "rich.progress", "arviz", "xarray", "h5netcdf"),
    *("jinja2", "safetensors.torch", "safetensors.numpy", "matplotlib.pyplot", "mpmath"),
)
TEST_SECONDS = 90  # of processor time that one test may take before it counts as hung
MEMORY = 8 * 2**30


class Watch:
    """A plugin of pytest: keeps to the chosen tests, in their order, times each, and writes down the first that fails."""

    def __init__(self, choice: Choice, out: Path) -> None:
        self._choice, self._out = choice, out

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave the chosen tests; new ones of the mutant's own file come first."""
        order, known = {test: number for number, test in enumerate(self._choice.ids)}, self._choice.known
        kept = [each for each in items if each.nodeid in order or (known is not None and each.nodeid not in known)]
        items[:] = sorted(kept, key=lambda each: order.get(each.nodeid, -1))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Give a test its time; the signal ends the process."""
        signal.setitimer(signal.ITIMER_PROF, TEST_SECONDS)
        self._write(running=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write down a failure."""
        if report.failed:
            self._write(failed=report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Write down a file that cannot be imported."""
        if report.failed:
            self._write(failed=f"import of {report.nodeid}")

    def _write(self, **facts: str) -> None:
        self._out.write_text(json.dumps(facts), encoding="utf-8")


def warm() -> None:
    """Import what takes time."""
    for name in WARM:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    if any(name.partition(".")[0] == "pyro_popbias" for name in sys.modules):
        raise RuntimeError("the package is imported already: forks would not see its mutants")


def copied_package(folder: Path) -> Path:
    """Return a folder with the package as it is when installed, compiled."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    shutil.rmtree(folder, ignore_errors=True)
    for line in setup["options"]["package_dir"].strip().splitlines():
        package, _, source = (part.strip() for part in line.partition("="))
        target = folder.joinpath(*package.split("."))
        target.mkdir(parents=True, exist_ok=True)
        for file in (ROOT / source).iterdir():
            if file.is_file():
                shutil.copy2(file, target)
    compileall.compile_dir(folder, quiet=1)
    return folder


@contextlib.contextmanager
def changed(tree: Path, mutant: Mutant) -> Iterator[None]:
    """Put a mutant into the copy of the package, and take it out again, with its time, which byte code is known by."""
    path = tree / mutant.file
    kept = path.stat()
    path.write_text(mutant.mutated, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(mutant.source, encoding="utf-8")
        os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))


def tried(tree: Path, choice: Choice, log: Path) -> dict[str, Any]:
    """Return what tests say of the package in a folder: a verdict, the test it is by, and the seconds it took.

    Verdicts are "survived", "killed", "hung" for a test that did not come to an end, and "no test".
    """
    if not choice.files:
        return {"verdict": "no test", "by": "", "seconds": 0.0}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        out = Path(folder, "watch.json")
        child = os.fork()
        if not child:
            _run(tree, choice, Path(folder), log)
        status = _waited(child, 20 * choice.seconds + 10 * TEST_SECONDS)
        facts = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    code = os.waitstatus_to_exitcode(status) if status is not None else -signal.SIGKILL
    verdict = "survived" if code == 0 else "no test" if code == pytest.ExitCode.NO_TESTS_COLLECTED else "killed"
    by = facts.get("failed") or facts.get("running", "import") if verdict == "killed" else ""
    verdict = "hung" if code in (-signal.SIGPROF, -signal.SIGKILL) else verdict
    return {"verdict": verdict, "by": by, "seconds": round(time.monotonic() - began, 1)}


def _waited(child: int, seconds: float) -> int | None:
    """Return the status of a process that ended; None if it was ended because its time was up."""
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
            time.sleep(0.05)
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):  # what it started itself may outlive it
            os.killpg(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def _run(tree: Path, choice: Choice, folder: Path, log: Path) -> None:
    """Run the tests in this process, a fork, and end it."""
    code = 70
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(out, stream)
        sys.path.insert(0, str(tree))
        sys.dont_write_bytecode = True
        os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        os.chdir(ROOT)
        code = int(pytest.main(_arguments(choice, folder), plugins=[Watch(choice, folder / "watch.json")]))
    finally:
        os._exit(code)


def _arguments(choice: Choice, folder: Path) -> Sequence[str]:
    options = ["-x", "-q", "--tb=short", "-p", "no:cacheprovider", f"--basetemp={folder / 'tests'}"]
    return [*options, "-m", "not nightly", *choice.files]
