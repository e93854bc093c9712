"""Plots of a fit: each draws into `ax`, or into the axes of a new figure, and returns them.

Popularity has a long tail: axes of counts and of positive popularity are logarithmic. Ids and titles are drawn
literally, never parsed as formulas, and truncated if long.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from torch.distributions import constraints

from pyro_popbias.distributions import draw
from pyro_popbias.distributions.supports import same_support
from pyro_popbias.report.figure import BLUE, GREY, RED, clean, new_axes
from pyro_popbias.trained import Trained

POINTS = 5000  # of a scatter plot; more are unreadable and make a large file
BINS = 60


def forest(
    fit: Trained,
    ax: Axes | None = None,
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
    table = fit.popularity(interval).query("not prior_only")
    table = table[table["period"] == table["period"].max()].sort_values("mean", ascending=False)
    top, tail = table.iloc[:number], table.iloc[number:].iloc[-number:]
    ax = ax or new_axes(width=6.5, height=1.2 + 0.2 * (len(top) + len(tail)))
    first = len(top) + len(tail) + 1.0  # with a gap between the ends
    for part, color, start in ((top, BLUE, first), (tail, RED, float(len(tail)))):
        place = start - np.arange(len(part))
        ax.hlines(place, part["lower"], part["upper"], color=color, linewidth=1.4)
        ax.plot(part["mean"], place, "o", color=color, markersize=4)
    names = [clean((titles or {}).get(item, item)) for item in [*top["item"], *tail["item"]]]
    places = [*(first - np.arange(len(top))), *(len(tail) - np.arange(len(tail)))]
    ax.set_yticks(places, names, parse_math=False, fontsize=8)
    _scale_popularity(fit, ax, "x")
    ax.set(xlabel=f"popularity z: posterior mean, {interval:.0%} interval", title="Most and least popular items")
    return ax


def against_count(fit: Trained, ax: Axes | None = None) -> Axes:
    """Plot the posterior mean of each cell's popularity against its number of rows."""
    ax = _against(fit, ax, lambda table: table["count"])
    ax.set(xscale="log", xlabel="number of rows", title="Popularity against number of rows")
    return ax


def against_share(fit: Trained, ax: Axes | None = None) -> Axes:
    """Plot the same against the share of positives: with labels, popularity is an item's pull once shown."""
    ax = _against(fit, ax, lambda table: table["positives"] / table["count"])
    ax.set(xlabel="share of positives", title="Popularity against share of positives")
    return ax


def _against(fit: Trained, ax: Axes | None, of_table: Callable[[pd.DataFrame], "pd.Series[float]"]) -> Axes:
    ax = ax or new_axes()
    table = fit.popularity().query("not prior_only")
    table = table.sample(min(len(table), POINTS), random_state=0)
    ax.plot(of_table(table), table["mean"], ".", color=BLUE, alpha=0.4, markersize=4)
    _scale_popularity(fit, ax, "y")
    ax.set_ylabel("posterior mean of popularity z")
    return ax


def prior_and_posterior(fit: Trained, ax: Axes | None = None) -> Axes:
    """Plot the prior of the cells with rows and their pooled posteriors, which agree if the prior is right."""
    ax = ax or new_axes()
    known = np.flatnonzero(fit.catalogue.count)
    known = np.random.default_rng(0).choice(known, min(len(known), POINTS), replace=False)
    cell = torch.from_numpy(known).to(fit.guide.device)
    draws = max(1, 50_000 // len(known))
    with torch.no_grad():
        distributions = {
            "prior": fit.model.prior.distribution(cell),
            "posteriors": fit.guide.popularity.posterior(cell),
        }
        found = {
            name: draw(distribution, draws=draws, seed=0, keys=known).ravel()
            for name, distribution in distributions.items()
        }
    both = np.concatenate(list(found.values()))
    low, high = np.quantile(both, [0.001, 0.999])
    positive = is_positive(fit)
    edges = np.geomspace(low, high, BINS) if positive else np.linspace(low, high, BINS)
    for (name, values), color in zip(found.items(), (GREY, BLUE), strict=True):
        weights = np.full(len(values), 1 / len(values))
        ax.hist(values, bins=edges.tolist(), weights=weights, histtype="step", color=color, label=name, linewidth=1.4)
    _scale_popularity(fit, ax, "x")
    ax.set(xlabel="popularity z", ylabel="share of draws", title="Prior and pooled posteriors of all items")
    ax.legend(frameon=False)
    return ax


def history(fit: Trained, ax: Axes | None = None) -> Axes:
    """Plot the training objective against seconds, for both phases; the steep beginning is cut off."""
    ax = ax or new_axes()
    name = fit.guide.popularity.maximises
    seconds = fit.history["seconds"].cumsum()
    for phase, color in ((1, BLUE), (2, RED)):
        part = fit.history["phase"] == phase
        ax.plot(seconds[part], fit.history[name][part], color=color, label=f"phase {phase}")
    low, high = fit.history[name].quantile([0.1, 1.0])
    if high > low:  # the steep beginning would flatten the rest
        ax.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    label = {"elbo": "ELBO"}.get(name, name.replace("_", " "))
    ax.set(xlabel="training time (s)", ylabel=f"{label} (nats)", title=f"{label[0].upper()}{label[1:]} during training")
    ax.legend(frameon=False, loc="lower right")
    return ax


def is_positive(fit: Trained) -> bool:
    """Return whether popularity lives on the positive numbers."""
    support = fit.model.prior.population().support
    assert support is not None  # noqa: S101  every prior has one
    return same_support(support, constraints.positive)


def _scale_popularity(fit: Trained, ax: Axes, side: str) -> None:
    if is_positive(fit):
        ax.set(**{f"{side}scale": "log"})
