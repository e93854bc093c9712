"""Plots of predictive checks: observed statistics against bands of replicates."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pyro_popbias.checks.check import Check, check
from pyro_popbias.checks.thresholds import counts_rows, share_of_bound, with_bounds
from pyro_popbias.errors import IncompatibleError
from pyro_popbias.report.figure import BLUE, GREY, RED, Target, axes_for
from pyro_popbias.trained import Trained

NEAREST, FARTHEST = 1.6, 3.2  # end of the axis in units of what is allowed, where all rules hold and where one fails
EDGE = 3.1  # what is farther is an arrow there
QUESTIONS = {
    "items": "Labels drawn with the posterior of each item",
    "population": "Labels drawn with the population distribution",
}


def click_rate_by_decile(table: pd.DataFrame, ax: Target = None) -> Axes:
    """Plot the click rate by decile of the items' number of rows.

    Args:
        table: table of one predictive check, with columns statistic, stratum, observed, mean, lower, upper.
        ax: axes to draw into; those of a new figure if left out.
    """
    ax = axes_for(ax)
    part = table[table["statistic"] == "click rate"]
    decile = part["stratum"].str.removeprefix("decile ").astype(int)
    ax.fill_between(
        decile, part["lower"], part["upper"], color=BLUE, alpha=0.25, linewidth=0, label="90 % of replicates"
    )
    ax.plot(decile, part["mean"], color=BLUE, linewidth=1)
    ax.plot(decile, part["observed"], "o", color=RED, markersize=4, label="observed")
    ax.set(
        xlabel="decile of items by number of rows (10 = most)",
        ylabel="click rate",
        title="Click rate by number of rows",
    )
    ax.set_xticks(np.arange(1, 11))
    ax.legend(frameon=False)
    return ax


def predictive(fit: Trained, ax: Target = None, *, checked: Check | None = None, seed: int = 0) -> Axes:
    """Plot how far each statistic of the predictive checks is from its replicates, in units of what its rule allows.

    A rule has a row, and in it a point for each stratum; a rule whose points all lie between -1 and 1 holds. The bar is the
    central 90 % of replicates of the worst stratum, which is named where the rule fails.

    Args:
        fit: the fit.
        ax: axes to draw into; those of a new figure if left out.
        checked: the checks of the fit; run here if left out.
        seed: of these.

    Raises:
        DataError: the fit has no interactions, or a column of theirs that it needs was not saved.
        IncompatibleError: the model has no labels to replicate.
    """
    checked = checked or check(fit, seed=seed)
    tables = {name: checked.tables[name] for name in QUESTIONS if name in checked.tables}
    if not tables:
        raise IncompatibleError(
            f"PB-C523: model {fit.study.model.name!r} has no labels to replicate, and there are no predictive checks to draw; "
            "str(fit.check()) has what can be checked"
        )
    parts = {name: with_bounds(table, counted=counts_rows(fit.model)) for name, table in tables.items()}
    rules = [
        (name, str(rule), part)
        for name, ruled in parts.items()
        for rule, part in ruled.groupby("statistic", sort=False)
    ]
    ax = axes_for(ax, width=7.5, height=1.4 + 0.26 * (len(rules) + len(parts)))
    ax.axvspan(-1, 1, color=BLUE, alpha=0.1, linewidth=0)
    ax.axvline(0, color=GREY, linewidth=0.8)
    reach = FARTHEST if any((share_of_bound(part).abs() > 1).any() for _, _, part in rules) else NEAREST
    places: dict[float, str] = {}
    failed, place = 0, 0.0
    for number, (check_name, rule, part) in enumerate(rules):
        place += 1.0 if number else 0.0
        if number == 0 or rules[number - 1][0] != check_name:
            place += 0.6 if number else 0.0
            ax.text(-0.97 * reach, place, QUESTIONS[check_name], fontsize=8.5, weight="bold", va="center")
            place += 1.0
        failed += _rule(part, place, ax)
        places[place] = rule
    ax.set_yticks(list(places), list(places.values()), fontsize=8.5)
    held = (
        f"{failed} of {len(rules)} rules fail{'s' if failed == 1 else ''}" if failed else f"all {len(rules)} rules hold"
    )
    ax.set(
        xlim=(-reach, reach),
        ylim=(place + 0.8, -0.8),
        xlabel="observed less mean of replicates, in units of what is allowed (shaded)",
        title=f"Predictive checks: {held}",
    )
    return ax


def _rule(part: pd.DataFrame, place: float, ax: Axes) -> bool:
    """Draw the strata of a rule in its row, and return whether it fails."""
    off = share_of_bound(part)
    lower, upper = (share_of_bound(part.assign(off=part[end] - part["mean"])) for end in ("lower", "upper"))
    worst = int(np.argmax(off.abs()))
    ax.hlines(place, lower.iloc[worst], upper.iloc[worst], color=BLUE, alpha=0.5, linewidth=5)
    for inside, color in ((off.abs() <= 1, "0.25"), (off.abs() > 1, RED)):
        near = inside & (off.abs() <= EDGE)
        ax.plot(off[near], np.full(near.sum(), place), "o", color=color, markersize=4, alpha=0.8, markeredgewidth=0)
    for far in off[off.abs() > EDGE]:
        ax.plot([np.sign(far) * EDGE], [place], ">" if far > 0 else "<", color=RED, markersize=6)
    row = part.iloc[worst]
    if failed := bool(abs(off.iloc[worst]) > 1):
        left = off.iloc[worst] > 0  # words stand on the other side of the middle
        named = f"{row['stratum']}: " if row["stratum"] else ""
        words = f"{named}{row['observed']:.3g}, replicates {row['mean']:.3g}"
        ax.text(-1.1 if left else 1.1, place, words, fontsize=8, color=RED, ha="right" if left else "left", va="center")
    return failed
