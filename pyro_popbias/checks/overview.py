"""The checks of a fit at a glance: the verdict, what fails and what to do; where nothing fails, the nearest to their bounds."""

from collections.abc import Sequence

import numpy as np

from pyro_popbias.checks.finding import Finding
from pyro_popbias.data.overview import Folded, Mark, Overview, Point

NEAREST = 3  # rules that are shown where all hold


def overview_of(findings: Sequence[Finding], verdict: str) -> Overview:
    """Return the checks at a glance.

    Args:
        findings: one per rule.
        verdict: in one line.
    """
    failing = sorted((finding for finding in findings if not finding.passed), key=_share, reverse=True)
    shown = failing or _nearest(findings)
    others = [finding for finding in findings if finding not in shown]
    title = f"Check: {verdict.partition(' (')[0]}"
    return Overview(
        title if failing or not shown else f"{title}. Nearest to their bounds:",
        mark="bad" if failing else "good",
        points=[_point(finding) for finding in shown],
        next_steps=("print(check)", "check.to_frame()", 'fit.report("report.html")'),
        folded=[Folded(f"The other {len(others)}", points=[_point(finding) for finding in others])] if others else [],
    )


def _nearest(findings: Sequence[Finding]) -> list[Finding]:
    """Return the rule of each check that is nearest to its bound, and of these the nearest."""
    by_check: dict[str, Finding] = {}
    for finding in findings:
        if np.isfinite(_share(finding)) and _share(finding) > _share(by_check.get(finding.check)):
            by_check[finding.check] = finding
    return sorted(by_check.values(), key=_share, reverse=True)[:NEAREST]


def _share(finding: Finding | None) -> float:
    """Return how much of its bound a finding uses, -inf where there is none."""
    if finding is None or not np.isfinite(finding.value) or not finding.bound > 0:
        return -np.inf
    return finding.value / finding.bound


def _point(finding: Finding) -> Point:
    mark: Mark = "bad" if not finding.passed else "idle" if np.isnan(finding.value) else "good"
    said = {"good": "holds", "bad": "fails", "idle": "does not apply"}[mark]
    return Point(f"{finding.check}, {said}: {finding.words}", mark)
