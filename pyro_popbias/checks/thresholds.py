"""When a predictive check fails: by more than chance, and by more than matters.

| statistic | what matters in items | what matters in distribution |
| --- | --- | --- |
| click rate | 10 % of the observed | cannot fail |
| spread of item rates | 10 % of the observed | 25 % of the observed |
| Gini of item rates | 10 % of the observed | 25 % of the observed |
| share of clicks | 10 % of the observed | 25 % of the observed |
| clicks per user | 10 % of the observed | cannot fail |
| spread of user rates | 10 % of the observed | cannot fail |
| calibration | 0.02 | cannot fail |
| log-score | 0.02 nats per row | cannot fail |

A rule compares the distance between the observed statistic and the mean of its replicates with the largest of three
numbers: what matters, by the table; the farthest replicate; and as many standard deviations of the replicates as a
Normal would exceed with a probability of 1 %, divided by the number of statistics that can fail in the check. So
p-values alone fail nothing: among 25 of them one below .05 is expected, and with a million rows every model has one of
0. A distribution of one parameter is rough, so more matters to it; with sampled negatives right fits are up to a
quarter off. The prior check is a report and never fails: a wide prior is no fault.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri

from pyro_popbias.checks.finding import Finding

LEVEL = 0.01  # of a check, over all its statistics


@dataclass(frozen=True)
class Rule:
    """What matters in a statistic.

    Attributes:
        matters: the least difference that matters, by the checks in which the statistic can fail.
        unit: of these differences: a share of the observed value, or the statistic's own.
        meaning: what a failure says, and what to do.
    """

    matters: Mapping[str, float]
    unit: Literal["share", "own"]
    meaning: str


BOTH = {"items": 0.1, "population": 0.25}
SPREAD = "popularity differs more, or less, between items than the fit says; try another prior, or source = 'learned'"
RULES = {
    "click rate": Rule(
        {"items": 0.1},
        "share",
        "popularity goes along with the number of rows; train longer, or try another saturation or model",
    ),
    "spread of item rates": Rule(BOTH, "share", SPREAD),
    "Gini of item rates": Rule(BOTH, "share", SPREAD),
    "share of clicks": Rule(BOTH, "share", SPREAD),
    "clicks per user": Rule(
        {"items": 0.1}, "share", "the number of clicks is off; train longer, or look at the labels"
    ),
    "spread of user rates": Rule(
        {"items": 0.1},
        "share",
        "users differ in how readily they click otherwise than affinities say; try another dim, or user features",
    ),
    "calibration": Rule(
        {"items": 0.02}, "own", "probabilities are off; hold rows out for early stopping, or try another model"
    ),
    "log-score": Rule(
        {"items": 0.02}, "own", "labels are less, or more, predictable than the fit says; try another dim or scale"
    ),
}


def findings_of(table: pd.DataFrame) -> list[Finding]:
    """Return what the table of a check says: a finding a statistic that can fail in it, or a report of the prior.

    Args:
        table: one row a statistic, as `Predictive.tables` gives it.
    """
    check = table["check"].iloc[0]
    ruled = table[[check in RULES[statistic].matters for statistic in table["statistic"]]]
    if not len(ruled):
        return [_report(check, table)]
    sds = -float(ndtri(LEVEL / (2 * len(ruled))))
    return [_finding(check, part, sds) for _, part in ruled.groupby("statistic", sort=False)]


def _finding(check: str, part: pd.DataFrame, sds: float) -> Finding:
    """Return the finding of a statistic: its worst stratum."""
    statistic = part["statistic"].iloc[0]
    rule = RULES[statistic]
    observed, mean, sd, least, most = part[["observed", "mean", "sd", "least", "most"]].to_numpy(dtype=float).T
    distance = np.abs(observed - mean)
    matters = rule.matters[check] * (np.abs(observed) if rule.unit == "share" else np.ones_like(observed))
    bound = np.maximum.reduce([matters, most - mean, mean - least, sds * sd])
    place = int(np.argmax(distance / np.maximum(bound, np.finfo(float).tiny)))
    worst, value, limit = part.iloc[place], float(distance[place]), float(bound[place])
    passed = value <= limit
    where: str = f"{statistic}, {worst['stratum']}" if worst["stratum"] else statistic
    if len(part) > 1:
        where = f"{where}, the worst of {len(part)}"
    words: str = (
        f"{where}: observed {worst['observed']:.4g}, replicates {worst['mean']:.4g} "
        f"({worst['lower']:.4g} to {worst['upper']:.4g}); differs by {value:.2g}, allowed {limit:.2g}"
    )
    return Finding(check, statistic, value, limit, passed, words if passed else f"{words}: {rule.meaning}")


def _report(check: str, table: pd.DataFrame) -> Finding:
    inside = table["observed"].between(table["lower"], table["upper"])
    words = (
        f"{inside.sum()} of {len(table)} observed statistics lie among the middle 90 % of replicates from the {check} alone; "
        "this is a report and never fails"
    )
    return Finding(check, "replicates", float(inside.mean()), 0.0, True, words)
