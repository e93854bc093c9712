"""When a predictive check fails: by more than chance, and by more than matters.

| statistic | tolerance in `items` | tolerance in `population` |
| --- | --- | --- |
| click rate | 10 % of the observed | cannot fail |
| spread of item rates | 10 % of the observed | 25 % of the observed |
| Gini of item rates | 10 % of the observed | 25 % of the observed |
| share of clicks | 10 % of the observed | 25 % of the observed |
| clicks per user | 10 % of the observed | cannot fail |
| spread of user rates | 10 % of the observed | cannot fail |
| calibration | 0.02 | cannot fail |
| log-score | 0.02 nats per row | cannot fail |
| spread of counts | 10 % of the observed | 25 % of the observed |
| Gini of counts | 10 % of the observed | 25 % of the observed |

A rule compares the distance between the observed statistic and the mean of its replicates with the largest of three
numbers: the tolerance of the table; the distance of the farthest replicate; and z standard deviations of the
replicates, z the two-sided Normal quantile at level 1 % divided by the number of statistics that can fail in the check
(Bonferroni). P-values alone fail nothing: among 25 of them one below .05 is expected, and with a million rows every
model has one of 0. A population distribution has one parameter and fits less closely than q, so its tolerance is
wider; with sampled negatives well-specified fits are up to a quarter off. Levels such as the click rate cannot fail in
`population`: where popular items are shown more, draws from the population distribution lower them by design. Nor
can rates of items where the model has an exposure part or items a quality: draws of popularity that know nothing of counts
and of quality spread rates more or less by design; counts say there whether the population distribution fits. The prior
check is a report and never fails: a wide prior is not an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri

from pyro_popbias.checks.finding import Finding
from pyro_popbias.models import MODELS, PopularityModel
from pyro_popbias.study.sections import ModelConfig

LEVEL = 0.01  # probability of a failure by chance, per check
POPULATION = (
    "the population distribution does not match the items, so scores P(c=1 | do(u,i)) are off too; {points}try {prior}"
)


@dataclass(frozen=True)
class Rule:
    """The tolerance of a statistic, and what a failure means.

    Attributes:
        tolerance: the smallest difference that matters, by the checks in which the statistic can fail.
        unit: unit of the tolerance: a share of the observed value, or the statistic's own unit.
        meaning: what a failure in `items` means, and what to do, with fields of `remedies`.
        of_population: the same of a failure in `population`.
    """

    tolerance: Mapping[str, float]
    unit: Literal["share", "own"]
    meaning: str
    of_population: str = POPULATION


RATES = ("spread of item rates", "Gini of item rates", "share of clicks")
UNITS = {"clicks per user": " clicks", "log-score": " nats per row"}  # of statistics that are not shares or ratios
BOTH = {"items": 0.1, "population": 0.25}
SPREAD = "popularity varies more, or less, between items than in the fit; try {prior}"
EXPOSURE = (
    "items are logged more, or less, unequally than in the fit; try {prior}, or another dispersion of the exposure"
)
OF_COUNTS = Rule(
    BOTH,
    "share",
    EXPOSURE,
    "items of the population would be logged more, or less, unequally than these; try {prior}",
)
RULES = {
    "click rate": Rule(
        {"items": 0.1},
        "share",
        "click rate depends on an item's number of rows and the fit misses it; train longer, or try {model}",
    ),
    "spread of item rates": Rule(BOTH, "share", SPREAD),
    "Gini of item rates": Rule(BOTH, "share", SPREAD),
    "share of clicks": Rule(BOTH, "share", SPREAD),
    "clicks per user": Rule({"items": 0.1}, "share", "the number of clicks is off; train longer, or check the labels"),
    "spread of user rates": Rule(
        {"items": 0.1},
        "share",
        "click rates vary more, or less, between users than in the fit; try another dim, or user features",
    ),
    "calibration": Rule(
        {"items": 0.02},
        "own",
        "the fit's probabilities are miscalibrated; try {model}, or hold out rows for early stopping where none are",
    ),
    "log-score": Rule(
        {"items": 0.02}, "own", "labels are less, or more, predictable than the fit expects; try another dim or scale"
    ),
    "spread of counts": OF_COUNTS,
    "Gini of counts": OF_COUNTS,
}


def counts_rows(model: PopularityModel) -> bool:
    """Return whether a model has an exposure part, or items a quality: rates of items then say nothing of the population."""
    return model.exposure is not None or model.affinity.item_quality is not None


def remedies(declared: ModelConfig) -> dict[str, str]:
    """Return what may be tried instead of what is declared, by the fields of `Rule.meaning`."""
    prior, model = "another prior", "another model"
    if declared.prior.name == "gamma":
        prior += ", such as lognormal, whose tail is heavier than gamma's"
    if declared.prior.source == "fixed":
        prior += ", or source = 'learned'"
    if MODELS[declared.name].default_saturation is not None:
        model += ", or another saturation"
    points = ""
    if getattr(declared.affinity, "posterior", None) == "point":
        points = "vectors that are points may be overfitted: try posterior = 'mean-field' or a smaller dim; else "
    return {"prior": prior, "model": model, "points": points}


def findings_of(table: pd.DataFrame, *, counted: bool = False, declared: ModelConfig | None = None) -> list[Finding]:
    """Return the findings of a check: one per statistic that can fail in it, or a report on the prior.

    Args:
        table: one row per statistic, as `Predictive.tables` returns it.
        counted: whether the model has an exposure part, or items a quality.
        declared: the model's section of the study; the default one without.
    """
    ruled = with_bounds(table, counted=counted)
    if not len(ruled):
        return [_report(table["check"].iloc[0], table)]
    instead = remedies(declared or ModelConfig())
    return [_finding(part, instead) for _, part in ruled.groupby("statistic", sort=False)]


def with_bounds(table: pd.DataFrame, *, counted: bool = False) -> pd.DataFrame:
    """Return the statistics of a check that can fail in it, with columns off, observed less the replicates' mean, and bound.

    Args:
        table: as in `findings_of`.
        counted: likewise.
    """
    check = table["check"].iloc[0]
    by_design = RATES if counted and check == "population" else ()
    ruled = table[[check in RULES[name].tolerance and name not in by_design for name in table["statistic"]]]
    if not len(ruled):
        return ruled.assign(off=ruled["observed"], bound=ruled["observed"])
    sds = -float(ndtri(LEVEL / (2 * len(ruled))))
    observed, mean, sd, least, most = ruled[["observed", "mean", "sd", "least", "most"]].to_numpy(dtype=float).T
    rules = [RULES[name] for name in ruled["statistic"]]
    shares = np.array([rule.unit == "share" for rule in rules])
    tolerance = np.array([rule.tolerance[check] for rule in rules]) * np.where(shares, np.abs(observed), 1.0)
    bound = np.maximum.reduce([tolerance, most - mean, mean - least, sds * sd])
    return ruled.assign(off=observed - mean, bound=bound)


def share_of_bound(ruled: pd.DataFrame) -> "pd.Series[float]":
    """Return column off of what `with_bounds` returns, in units of what is allowed."""
    return ruled["off"] / np.maximum(ruled["bound"], np.finfo(float).tiny)


def _finding(part: pd.DataFrame, instead: Mapping[str, str]) -> Finding:
    """Return the finding of a statistic, in its worst stratum."""
    check, statistic = part["check"].iloc[0], part["statistic"].iloc[0]
    rule = RULES[statistic]
    worst = part.iloc[int(np.argmax(share_of_bound(part).abs()))]
    value, limit = float(abs(worst["off"])), float(worst["bound"])
    passed = value <= limit
    meaning = (rule.of_population if check == "population" else rule.meaning).format(**instead)
    where: str = f"{statistic}, {worst['stratum']}" if worst["stratum"] else statistic
    if len(part) > 1:
        where = f"{where}, the worst of {len(part)}"
    words: str = (
        f"{where}: observed {worst['observed']:.4g}, replicates {worst['mean']:.4g} "
        f"({worst['lower']:.4g} to {worst['upper']:.4g}); off by {value:.2g}, allowed {limit:.2g}{UNITS.get(statistic, '')}"
    )
    if passed:
        return Finding(check, statistic, value, limit, True, words)
    return Finding(check, statistic, value, limit, False, f"{words}: {meaning}", meaning)


def _report(check: str, table: pd.DataFrame) -> Finding:
    inside = table["observed"].between(table["lower"], table["upper"])
    words = (
        f"{inside.sum()} of {len(table)} observed statistics lie within the central 90 % of replicates drawn from the {check}; "
        "reported, never fails"
    )
    return Finding(check, "replicates", float(inside.mean()), 0.0, True, words)
