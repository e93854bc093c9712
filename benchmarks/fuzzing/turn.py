"""One turn of one target: what is thrown at it, what counts as a finding, and where findings are kept."""

import hashlib
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from fuzzing.folders import remove_folder
from fuzzing.targets import TARGETS
from pyro_popbias.errors import PopBiasError

MOST_SECONDS = 10  # of one input
MEMORY = 6 * 2**30  # bytes of the process
LARGEST = 100_000  # bytes of an input


class TooSlow(BaseException):
    """An input takes too long."""


class Turn:
    """Runs a target on inputs, and keeps those that end in anything but success or an error of the package.

    A finding is kept once for each place that it comes from: type of the exception, and the last line of the package.

    Args:
        name: of the target.
        out: folder of the run.
        number: of the turn.
    """

    def __init__(self, name: str, out: Path, number: int) -> None:
        self._read = TARGETS[name].read
        self._counted = out / "inputs" / f"{number}.json"
        self._counted.parent.mkdir(parents=True, exist_ok=True)
        self._findings = out / "findings" / name
        self._current = out / f"{name}.current"
        self.inputs = 0

    def run(self, content: bytes) -> None:
        """Run the target on one input."""
        self.inputs += 1
        self._current.write_bytes(content)  # what is left there when the process dies is what killed it
        fault = fault_of(self._read, content)
        if fault:
            self._keep(content, *fault)
        if self.inputs % 50 == 0:
            self._count()

    def close(self, *, keep_folder: bool = False) -> None:
        """Remove what the turn leaves."""
        self._count()
        self._current.unlink(missing_ok=True)
        if not keep_folder:
            remove_folder()

    def _count(self) -> None:
        self._counted.write_text(str(self.inputs), encoding="utf-8")

    def _keep(self, content: bytes, place: str, trace: str) -> None:
        name = hashlib.sha256(place.encode()).hexdigest()[:10]
        self._findings.mkdir(parents=True, exist_ok=True)
        path = self._findings / name
        if not path.exists() or len(content) < path.stat().st_size:
            path.write_bytes(content)
            path.with_suffix(".txt").write_text(f"{place}\n\n{trace}", encoding="utf-8", errors="replace")


def fault_of(read: object, content: bytes) -> tuple[str, str] | None:
    """Return where an uncaught exception comes from, and its trace; None where the input is read or refused."""
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(MOST_SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(content)  # type: ignore[operator]
    except (PopBiasError, KeyboardInterrupt):
        return None
    except BaseException as error:  # a panic of Rust is not an Exception
        return _place_of(error), traceback.format_exc(limit=-12)
    finally:
        signal.alarm(0)
    return None


def _place_of(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if any(part in each.filename for part in ("pyro_popbias", "/models/", "/guides/"))]
    last = (own or frames)[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.name}"


def _stop(number: int, at: FrameType | None) -> None:
    raise TooSlow(f"more than {MOST_SECONDS} s")


def with_hypothesis(name: str, out: Path, seconds: float, number: int, *, keep_folder: bool = False) -> None:
    """Run a target on what hypothesis makes.

    Args:
        name: of the target.
        out: folder of the run.
        seconds: how long.
        number: of the turn, which is its seed.
        keep_folder: whether another turn of this process reads from the same folders.
    """
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    from fuzzing.strategies import contents

    target, turn = TARGETS[name], Turn(name, out, number)
    deadline, seed = time.monotonic() + seconds, number
    whole = target.whole()
    options = settings(
        max_examples=200, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    while time.monotonic() < deadline:
        seed += 1_000

        @seeded(seed)
        @options
        @given(contents(target.kind, whole))
        def throw(content: bytes) -> None:
            if time.monotonic() < deadline:
                turn.run(content)

        throw()
    turn.close(keep_folder=keep_folder)


def with_atheris(name: str, out: Path, seconds: float, number: int, corpora: Sequence[Path]) -> None:
    """Run a target on what atheris makes, guided by which lines of the package an input reaches; ends the process."""
    import atheris

    target, turn = TARGETS[name], Turn(name, out, number)
    own = out / "corpus" / name
    own.mkdir(parents=True, exist_ok=True)
    (out / "findings").mkdir(exist_ok=True)
    whole = target.whole()
    (own / "whole").write_bytes(whole)
    arguments = [
        sys.argv[0],
        f"-max_total_time={int(seconds)}",
        f"-seed={number + 1}",
        f"-max_len={LARGEST}",
        f"-timeout={6 * MOST_SECONDS}",
        f"-rss_limit_mb={MEMORY >> 20}",
        f"-artifact_prefix={out / 'findings'}/{name}-",
        "-verbosity=0",
        "-print_final_stats=0",
        str(own),
        *map(str, corpora),
    ]
    atheris.Setup(arguments, turn.run)
    atheris.Fuzz()
