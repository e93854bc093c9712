"""Figure 7: texts that would like to be scripts, formulas, templates, mathematics or paths, in every place they come out."""

from pathlib import Path

from scoreboard.section import Measured, Section, resumed


def payloads(folder: Path, quick: bool) -> Measured:
    """Send all texts through every sink; in a hurry those that draw nothing."""
    from faults.sinks import SINKS, active
    from faults.sinks import payloads as texts

    names = [name for name in SINKS if not quick or name in ("CSV", "gzipped CSV", "Parquet", "terminal")]
    found = resumed(folder, names, lambda name: active(name, texts()))
    wrong = tuple(f"{name}: {', '.join(map(str, lines))[:500]}" for name, lines in found.items() if lines)
    return Measured(f"{len(texts())} texts in {len(names)} sinks: {len(wrong)} sinks with any active", not wrong, wrong)


SECTIONS = [Section(7, "scripts, formulas and paths in texts", "200 texts in every sink: 0 active", payloads, 3)]
