"""Figure 16: what comes out when bytes are thrown at everything that the package reads from a disk."""

from pathlib import Path

from scoreboard.section import ROOT, Measured, Section

HOURS = 1.0
QUICK = ("csv", "parquet", "study", "checkpoint", "log-manifest", "log-counts")  # which need no fit
QUICK_SECONDS = 0.5  # of each


def fuzz(folder: Path, quick: bool) -> Measured:
    """Fuzz all targets; an uncaught exception, a hang and the end of the process are findings."""
    from fuzz import findings_of, run_turns, turns_of
    from fuzzing.targets import TARGETS

    if quick:
        from fuzzing.turn import with_hypothesis

        names = list(QUICK)
        for number, name in enumerate(names):
            with_hypothesis(name, folder, QUICK_SECONDS, number, keep_folder=name != names[-1])
        inputs = sum(int(path.read_text(encoding="utf-8")) for path in (folder / "inputs").glob("*.json"))
        spent = f"{len(names) * QUICK_SECONDS:.0f} s"
    else:
        names = list(TARGETS)
        run_turns(folder, names, 3600 * HOURS, corpus=ROOT / "tests" / "corpus", turn=60)
        inputs = sum(int(each["inputs"]) for each in turns_of(folder))
        spent = f"{sum(float(each['seconds']) for each in turns_of(folder)) / 3600:.1f} h"
    found = [f"{path.parent.name}: {path.read_text(encoding='utf-8').splitlines()[0]}" for path in findings_of(folder)]
    value = f"{len(found)} uncaught in {inputs:,} inputs to {len(names)} targets, {spent}"
    return Measured(value, not found, tuple(found))


SECTIONS = [Section(16, "fuzzing", "one hour over all targets, 0 uncaught", fuzz, 60)]
