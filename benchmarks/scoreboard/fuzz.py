"""Figure 16: what comes out when bytes are thrown at everything that the package reads from a disk."""

from pathlib import Path

from scoreboard.section import ROOT, Measured, Section

HOURS = 1.0
QUICK_SECONDS = 0.3  # of a target


def fuzz(folder: Path, quick: bool) -> Measured:
    """Fuzz all targets; an uncaught exception, a hang and the end of the process are findings."""
    from fuzz import findings_of, run_turns, turns_of
    from fuzzing.targets import TARGETS

    if quick:
        from fuzzing.turn import with_hypothesis

        for number, name in enumerate(TARGETS):
            with_hypothesis(name, folder, QUICK_SECONDS, number, keep_folder=True)
        inputs = sum(int(path.read_text(encoding="utf-8")) for path in (folder / "inputs").glob("*.json"))
        spent = f"{len(TARGETS) * QUICK_SECONDS:.0f} s"
    else:
        run_turns(folder, list(TARGETS), 3600 * HOURS, corpus=ROOT / "tests" / "corpus", turn=60)
        inputs = sum(int(each["inputs"]) for each in turns_of(folder))
        spent = f"{sum(float(each['seconds']) for each in turns_of(folder)) / 3600:.1f} h"
    found = [f"{path.parent.name}: {path.read_text(encoding='utf-8').splitlines()[0]}" for path in findings_of(folder)]
    value = f"{len(found)} uncaught in {inputs:,} inputs to {len(TARGETS)} targets, {spent}"
    return Measured(value, not found, tuple(found))


SECTIONS = [Section(16, "fuzzing", "one hour over all targets, 0 uncaught", fuzz, 60)]
