"""The checks of a fit at a glance: the verdict, and what fails; where nothing fails, the figures that matter."""

from collections.abc import Sequence

import numpy as np

from pyro_popbias.checks.figures import figures
from pyro_popbias.checks.finding import Finding
from pyro_popbias.data.overview import Folded, Mark, Overview, Point


def overview_of(findings: Sequence[Finding], verdict: str) -> Overview:
    """Return the checks at a glance.

    Args:
        findings: one per rule.
        verdict: in one line.
    """
    failing = sorted((finding for finding in findings if not finding.passed), key=_share, reverse=True)
    others = [_point(finding) for finding in findings if finding not in failing]
    named = figures(findings) if findings and not failing else {}
    return Overview(
        f"Check: {verdict.partition(' (')[0]}",
        mark="bad" if failing else "good",
        rows=[Point(words, name=name) for name, words in named.items()],
        points=[_point(finding) for finding in failing],
        next_steps=("print(check)", "check.to_frame()", 'fit.report("report.html")'),
        folded=[Folded(f"The other {len(others)} rules" if failing else "Every rule", points=others)] if others else [],
    )


def _share(finding: Finding) -> float:
    """Return how much of its bound a finding uses, -inf where there is none."""
    return finding.value / finding.bound if np.isfinite(finding.value) and finding.bound > 0 else -np.inf


def _point(finding: Finding) -> Point:
    mark: Mark = "bad" if not finding.passed else "idle" if np.isnan(finding.value) else "good"
    said = {"good": "holds", "bad": "fails", "idle": "does not apply"}[mark]
    return Point(f"{finding.check}, {said}: {finding.words}", mark)
