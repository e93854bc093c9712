"""The three figures of a check that matter: does the model fit, is q right, is popularity more than the like rate?"""

import math
from collections.abc import Sequence

from pyro_popbias.checks.finding import Finding

PREDICTIVE = ("items", "population")


def figures(findings: Sequence[Finding]) -> dict[str, str]:
    """Return whether the model fits the data, whether q is right, and whether popularity is more than the like rate, in words."""
    return {"the model": _of_model(findings), "q": _of_q(findings), "popularity": _of_popularity(findings)}


def _of_model(findings: Sequence[Finding]) -> str:
    ruled = [each for each in findings if each.check in PREDICTIVE and each.bound > 0]
    if not ruled:
        return "not compared with the data: its scores are not probabilities"
    worst = max(ruled, key=lambda each: each.value / each.bound)
    return (
        f"the worst of {len(ruled)} statistics is at {worst.value / worst.bound:.0%} of what is allowed "
        f"({worst.name}, {worst.check})"
    )


def _of_q(findings: Sequence[Finding]) -> str:
    finding = _named(findings, "accuracy", "mean KL")
    if finding is None:
        return "not compared with the exact posterior" + _why(findings, "accuracy")
    bound = "no bound for this guide" if math.isnan(finding.bound) else f"at most {finding.bound:g}"
    return f"{finding.value:.4f} nats from the exact posterior, the mean over items ({bound})"


def _of_popularity(findings: Sequence[Finding]) -> str:
    finding = _named(findings, "identification", "popularity with like rate")
    if finding is None or math.isnan(finding.value):
        return "not compared with like rates" + _why(findings, "identification")
    return finding.measured.removesuffix("; reported, never fails")


def _named(findings: Sequence[Finding], check: str, name: str) -> Finding | None:
    return next((each for each in findings if (each.check, each.name) == (check, name)), None)


def _why(findings: Sequence[Finding], check: str) -> str:
    """Return why a check does not apply, as a continuation; empty where it does not say."""
    idle = next((each for each in findings if each.check == check and math.isnan(each.value)), None)
    return "" if idle is None else f": {idle.words.removeprefix('Not checked: ').rstrip('.')}"
