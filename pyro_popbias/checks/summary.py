"""A check in a few lines: the verdict, what failed, what to do, and the three figures that matter."""

import math
from collections.abc import Iterator

from pyro_popbias.checks.check import Check
from pyro_popbias.checks.finding import Finding

MOST = 3  # rules, and remedies, that are named one by one
PREDICTIVE = ("items", "population")


def summary(found: Check, *, name: str = "fit") -> Iterator[str]:
    """Yield the lines of a summary, at most twelve.

    Args:
        found: the check.
        name: what was checked, as the first line calls it.
    """
    failures = found.failures
    if failures:
        yield f"{name}: FAILED, {len(failures)} of {len(found.findings)} rules do not hold"
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
    for label, figure in figures(found).items():
        yield f"  {label:14} {figure}"


def figures(found: Check) -> dict[str, str]:
    """Return whether the model fits the data, whether q is right, and whether popularity is more than the like rate, in words."""
    return {"the model": _of_model(found), "q": _of_q(found), "popularity": _of_popularity(found)}


def _of_model(found: Check) -> str:
    ruled = [each for each in found.findings if each.check in PREDICTIVE and each.bound > 0]
    if not ruled:
        return "not compared with the data: its scores are not probabilities"
    worst = max(ruled, key=lambda each: each.value / each.bound)
    return (
        f"the worst of {len(ruled)} statistics is at {worst.value / worst.bound:.0%} of what is allowed "
        f"({worst.name}, {worst.check})"
    )


def _of_q(found: Check) -> str:
    finding = _named(found, "accuracy", "mean KL")
    if finding is None:
        return "not compared with the exact posterior" + _why(found, "accuracy")
    bound = "no bound for this guide" if math.isnan(finding.bound) else f"at most {finding.bound:g}"
    return f"{finding.value:.4f} nats from the exact posterior, the mean over items ({bound})"


def _of_popularity(found: Check) -> str:
    finding = _named(found, "identification", "popularity with like rate")
    if finding is None or math.isnan(finding.value):
        return "not compared with like rates" + _why(found, "identification")
    return finding.measured.removesuffix("; reported, never fails")


def _named(found: Check, check: str, name: str) -> Finding | None:
    return next((each for each in found.findings if (each.check, each.name) == (check, name)), None)


def _why(found: Check, check: str) -> str:
    """Return why a check does not apply, as a continuation; empty where it does not say."""
    idle = next((each for each in found.findings if each.check == check and math.isnan(each.value)), None)
    return "" if idle is None else f": {idle.words.removeprefix('Not checked: ').rstrip('.')}"
