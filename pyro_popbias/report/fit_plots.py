"""Plots of a fit: each draws into `ax`, or into the axes of a new figure, and returns them.

Popularity has a long tail: axes of counts and of positive popularity are logarithmic. Ids and titles are drawn
literally, never parsed as formulas, and truncated if long.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from torch.distributions import constraints

from pyro_popbias.distributions import draw, quantile
from pyro_popbias.distributions.supports import same_support
from pyro_popbias.models.priors.prior import SharedPrior
from pyro_popbias.report.figure import BLUE, GREY, RED, Target, axes_for, clean_labels
from pyro_popbias.trained import Trained
from pyro_popbias.validation import require_integer

POINTS = 5000  # of a scatter plot; more are unreadable and make a large file
BINS = 60
DECADES = {2.0: (1.0, 2.0, 5.0), 4.0: (1.0, 3.0), 6.0: (1.0,)}  # of popularity, and the numbers written out up to them


def popularity(
    fit: Trained,
    ax: Target = None,
    *,
    number: int = 10,
    interval: float = 0.9,
    titles: Mapping[str, str] | None = None,
) -> Axes:
    """Plot the most and least popular items of the last period with their posterior intervals.

    Args:
        fit: the fit.
        ax: axes to draw into; those of a new figure if left out.
        number: number of items at each end.
        interval: probability of the intervals.
        titles: maps item ids to titles; an item without one is shown by its id.
    """
    number = require_integer("number", number, 1)
    table = fit.popularity(interval).query("not prior_only")
    table = table[table["period"] == table["period"].max()].sort_values("mean", ascending=False)
    top, tail = table.iloc[:number], table.iloc[number:].iloc[-number:]
    ax = axes_for(ax, width=6.5, height=1.2 + 0.2 * (len(top) + len(tail)))
    first = len(top) + len(tail) + 1.0  # with a gap between the ends
    for part, color, start in ((top, BLUE, first), (tail, RED, float(len(tail)))):
        place = start - np.arange(len(part))
        ax.hlines(place, part["lower"], part["upper"], color=color, linewidth=1.4)
        ax.plot(part["mean"], place, "o", color=color, markersize=4)
    both = pd.concat([top, tail])
    names = clean_labels((titles or {}).get(item, item) for item in both["item"])
    shown = [f"{name}  ({rows:,})" for name, rows in zip(names, both["count"], strict=True)]
    places = [*(first - np.arange(len(top))), *(len(tail) - np.arange(len(tail)))]
    ax.set_yticks(places, shown, parse_math=False, fontsize=8)
    population = fit.model.prior.population()
    with torch.no_grad():
        low, high = (float(quantile(population, end)) for end in (0.5 - interval / 2, 0.5 + interval / 2))
    ax.axvspan(low, high, color=GREY, alpha=0.15, linewidth=0, zorder=0, label=f"{interval:.0%} of the population")
    when = ", last period" if fit.catalogue.periods > 1 else ""
    _scale_popularity(fit, ax, "x")
    ax.set(
        xlabel=f"popularity z{when}: posterior mean, {interval:.0%} interval",
        title="Most and least popular items",
    )
    ax.text(-0.01, 1.005, "(rows)", transform=ax.transAxes, ha="right", va="bottom", fontsize=8, color="0.35")
    ax.legend(frameon=False, fontsize=8, loc="center right")  # in the gap between the ends
    return ax


def against_count(fit: Trained, ax: Target = None) -> Axes:
    """Plot the posterior mean of each cell's popularity against its number of rows."""
    ax = _against(fit, ax, lambda table: table["count"])
    ax.set(xscale="log", xlabel="number of rows", title="Popularity against number of rows")
    return ax


def against_share(fit: Trained, ax: Target = None) -> Axes:
    """Plot the same against the share of positives: with labels, popularity is an item's pull once shown."""
    ax = _against(fit, ax, lambda table: table["positives"] / table["count"])
    ax.set(xlabel="share of positives", title="Popularity against share of positives")
    return ax


def _against(fit: Trained, ax: Target, of_table: Callable[[pd.DataFrame], "pd.Series[float]"]) -> Axes:
    ax = axes_for(ax)
    table = fit.popularity().query("not prior_only")
    table = table.sample(min(len(table), POINTS), random_state=0)
    ax.plot(of_table(table), table["mean"], ".", color=BLUE, alpha=0.4, markersize=4)
    _scale_popularity(fit, ax, "y")
    ax.set_ylabel("posterior mean of popularity z")
    return ax


def prior_posterior(fit: Trained, ax: Target = None) -> Axes:
    """Plot the prior of the cells with rows and their pooled posteriors, which agree if the prior is right."""
    ax = axes_for(ax)
    known = np.flatnonzero(fit.catalogue.count)
    known = np.random.default_rng(0).choice(known, min(len(known), POINTS), replace=False)
    cell = torch.from_numpy(known).to(fit.guide.device)
    draws = max(1, 50_000 // len(known))
    with torch.no_grad():
        prior, q = fit.model.prior.distribution(cell), fit.guide.popularity.posterior(cell)
        found = [draw(each, draws=draws, seed=0, keys=known).ravel() for each in (prior, q)]
        means = q.mean.cpu().numpy()
    low, high = np.quantile(np.concatenate(found), [0.001, 0.999])
    edges = (np.geomspace if is_positive(fit) else np.linspace)(low, high, BINS).tolist()
    shared = isinstance(fit.model.prior, SharedPrior)
    weights = np.full(len(found[0]), 1 / len(found[0]))
    label = "population distribution" if shared else "priors of items, pooled"
    ax.hist(found[0], edges, weights=weights, histtype="stepfilled", color=GREY, alpha=0.35, label=label)
    label = "posteriors of items, pooled"
    ax.hist(found[1], edges, weights=weights, histtype="step", color=BLUE, label=label, linewidth=1.6)
    height = ax.get_ylim()[1]
    ax.plot(
        means,
        np.full(len(means), -0.03 * height),
        "|",
        color=BLUE,
        alpha=min(0.4, 80 / len(means)),
        markersize=7,
    )
    ax.plot([], [], "|", color=BLUE, label="their means")  # one that is seen in the legend
    ax.set_ylim(-0.06 * height, 1.25 * height)
    _scale_popularity(fit, ax, "x")
    ax.set(xlabel="popularity z", ylabel="share of draws", title="Population and posteriors of popularity")
    ax.legend(frameon=False, fontsize=9, loc="upper left")
    return ax


def history(fit: Trained, ax: Target = None) -> Axes:
    """Plot the training objective against seconds, for both phases; the steep beginning is cut off."""
    ax = axes_for(ax)
    name = fit.guide.popularity.maximises
    seconds = fit.history["seconds"].cumsum()
    for phase, color in ((1, BLUE), (2, RED)):
        part = fit.history["phase"] == phase
        ax.plot(seconds[part], fit.history[name][part], ".-", color=color, label=f"phase {phase}")
    first = fit.history["phase"] == 1
    late = fit.history[name][~first | (first.cumsum() > first.sum() / 2)]
    low, high = late.min(), late.max()
    if high > low:  # the steep beginning would flatten the rest
        ax.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    label = {"elbo": "ELBO"}.get(name, name.replace("_", " "))
    ax.set(xlabel="training time (s)", ylabel=f"{label} (nats)", title=f"{label[0].upper()}{label[1:]} during training")
    ax.legend(frameon=False, loc="lower right")
    return ax


def is_positive(fit: Trained) -> bool:
    """Return whether popularity lives on the positive numbers."""
    support = fit.model.prior.population().support
    assert support is not None  # noqa: S101  every prior has one
    return same_support(support, constraints.positive)


def label_popularity(axis: Axis) -> None:
    """Write out the numbers of a logarithmic axis, such as 0.1, unless it is very long: powers alone are often one tick."""
    low, high = axis.get_view_interval()
    numbers = [each for decades, each in DECADES.items() if np.log10(high / low) <= decades]
    if numbers:
        axis.set_major_locator(LogLocator(subs=numbers[0]))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def _scale_popularity(fit: Trained, ax: Axes, side: str) -> None:
    if is_positive(fit):
        ax.set(**{f"{side}scale": "log"})
        label_popularity(ax.xaxis if side == "x" else ax.yaxis)
