"""Open hostile run folders, each in a child that an audit hook watches: `python benchmarks/faults/hostile.py EVERY OUT`."""

import json
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.payloads import KINDS, MARK

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "schema-6"
SECONDS = 120  # after which a load counts as hanging
BUDGET = 268_435_456  # bytes of tables in memory; twice as much may be taken
FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.",
    "pickle.find_class",
)
INSTALLED = (sys.prefix, sys.base_prefix, ROOT / "pyro_popbias", ROOT / "models", ROOT / "guides")
OWN = tuple(str(Path(each).resolve()) for each in INSTALLED)
SYSTEM = ("/proc/", "/sys/", "/dev/null", "/dev/urandom", "/usr/lib", "/lib", "/etc/localtime", "/usr/share/zoneinfo")


def watch(folder: Path, seen: list[str]) -> None:
    """Note from now on what leaves the folder: other files, processes, sockets and pickles."""
    inside = str(folder.resolve())

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(FORBIDDEN):
            seen.append(f"{event} {arguments!r}"[:200])
        elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.path.realpath(os.path.dirname(os.path.abspath(os.fsdecode(arguments[0]))))  # noqa: PTH100, PTH120
            writes = bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            ours = path.startswith(inside) or (not writes and path.startswith((*OWN, *SYSTEM)))
            if not ours and not os.fsdecode(arguments[0]).startswith(SYSTEM):
                seen.append(f"open {arguments[0]!r}")

    sys.addaudithook(hook)


def use(run: Path) -> str:
    """Load a run and use it; return what was said."""
    import pyro_popbias as pb

    try:
        fit = pb.load(run)
        fit.popularity()
        fit.parameters()
        pairs = fit.catalogue.users[:2].to_frame(name="user").assign(item=fit.catalogue.items[0])
        scores = fit.predict(pairs)["score"]
        fit.recommend(list(fit.catalogue.users[:2]), k=2, exclude_seen=fit.events is not None)
        _ = fit.card
        return "loaded" if scores.notna().all() else "Fault: loaded, and scores are NaN"
    except pb.PopBiasError as error:
        return f"{type(error).__name__}: {error}"


def in_child(work: Callable[[], str], out: Path) -> dict[str, Any]:
    """Return what some work said, what left the folder meanwhile, and the memory it took beyond that of its parent."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        seen: list[str] = []
        os.chdir(out.parent)
        watch(out.parent, seen)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            said = work()
        except BaseException as error:
            said = f"Fault: {type(error).__name__}: {error}"
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        out.write_text(json.dumps({"said": said[:300], "left": list(seen), "bytes": grown}))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        return {"said": f"Fault: ended with {code}", "left": [], "bytes": 0}
    return dict(json.loads(out.read_text()))


def judged(kind: str, scratch: Path) -> list[str]:
    """Return what is wrong with how one kind is met."""
    folder = scratch / "hostile"
    run = folder / "run"
    shutil.copytree(GOLDEN, run)
    KINDS[kind](run)
    found = in_child(lambda: use(run), folder / "found.json")
    wrong = [found["said"]] if found["said"].startswith("Fault") else []
    allowed = ("/etc/manifest.json",) if kind == "stored log elsewhere" else ()  # a log is where its run says
    wrong += [each for each in found["left"] if not any(name in each for name in allowed)]
    if found["bytes"] > 2 * BUDGET:
        wrong.append(f"took {found['bytes']:,} bytes")
    if any(folder.rglob(MARK)):
        wrong.append("was executed")
    shutil.rmtree(folder)
    return wrong


def main() -> None:
    """Write what was wrong by kind, of every so many kinds."""
    import pyro_popbias as pb

    pb.load(GOLDEN)  # imported before the forks, not in each
    kinds = list(KINDS)[:: int(sys.argv[1])]
    with tempfile.TemporaryDirectory() as scratch:
        found = {kind: judged(kind, Path(scratch)) for kind in kinds}
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
