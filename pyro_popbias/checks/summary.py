"""A check in a few lines: the verdict, what failed, what to do, and the three figures that matter."""

from collections.abc import Iterator

from pyro_popbias.checks.check import Check
from pyro_popbias.checks.figures import figures

OF_TRAINING = ("convergence", "accuracy")
MOST = 3  # rules, and remedies, that are named one by one


def summary(found: Check, *, name: str = "fit") -> Iterator[str]:
    """Yield the lines of a summary, at most twelve.

    Args:
        found: the check.
        name: what was checked, as the first line calls it.
    """
    # a q that is far from the posterior, or not settled, makes the rest fail too
    failures = sorted(found.failures, key=lambda finding: finding.check not in OF_TRAINING)
    if failures:
        do = "does" if len(failures) == 1 else "do"
        yield f"{name}: FAILED, {len(failures)} of {len(found.findings)} rules {do} not hold"
        for finding in failures[:MOST]:
            yield f"  {finding.check:14} {finding.measured}"
        if len(failures) > MOST:
            others = ", ".join(f"{finding.check}: {finding.name}" for finding in failures[MOST:])
            yield f"  and {len(failures) - MOST} more: {others}"
        # rules that fail for one reason have one remedy
        remedies = list(dict.fromkeys(finding.remedy for finding in failures if finding.remedy))
        for remedy in remedies[:MOST]:
            yield f"  to do: {remedy}"
    else:
        yield f"{name}: passed, {found.verdict}"
    for label, figure in figures(found.findings).items():
        yield f"  {label:14} {figure}"
