"""Plot of one item's popularity: the population, where it may lie, and what the data have made of that."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from scipy.stats import norm

from pyro_popbias.distributions import quantile
from pyro_popbias.models.priors.prior import SharedPrior
from pyro_popbias.prediction.posterior_tables import popularity_quantiles
from pyro_popbias.report.figure import BLUE, GREY, SERIES, Target, axes_for, clean
from pyro_popbias.report.fit_plots import is_positive, label_popularity
from pyro_popbias.trained import Trained

LEVELS = norm.cdf(np.linspace(-3.1, 3.1, 125))  # of quantiles, between which densities are drawn
UNDER = -0.09  # where the interval stands, under the densities


def posterior(fit: Trained, item: str, ax: Target = None, *, interval: float = 0.9, title: str | None = None) -> Axes:
    """Plot the posterior of an item's popularity in the last period, over the population and the item's own prior.

    The interval, and the widths of densities, include what the table of popularity includes. Each density has its own height:
    compare places and widths. A guide that is a point has a line.

    Args:
        fit: the fit.
        item: an id that the fit knows.
        ax: axes to draw into; those of a new figure if left out.
        interval: probability of the interval under the densities.
        title: of the item; its id if left out.
    """
    catalogue = fit.catalogue
    code = int(catalogue.items.get_indexer(pd.Index([item]))[0])
    cell = np.array([(code + 1) * catalogue.periods - 1])
    only_prior = bool(catalogue.without_rows(by_item=fit.model.prior.joins_periods)[cell[0]])
    tail = (1 - interval) / 2

    def of_item(levels: Sequence[float]) -> np.ndarray:
        return popularity_quantiles(fit.model, fit.guide, cell, levels)[:, 0]

    def of_prior(levels: Sequence[float]) -> np.ndarray:
        with torch.no_grad():
            prior = fit.model.prior.distribution(torch.from_numpy(cell).to(fit.guide.device))
            return np.array([float(quantile(prior, level)) for level in levels])

    def of_population(levels: Sequence[float]) -> np.ndarray:
        with torch.no_grad():
            population = fit.model.prior.population()
            return np.array([float(quantile(population, level)) for level in levels])

    found = of_prior if only_prior else of_item
    ax = axes_for(ax, width=5.4, height=3.3)
    _fill(fit, ax, of_population, GREY, "population: all items", alpha=0.25)
    if not isinstance(fit.model.prior, SharedPrior):
        _line(fit, ax, of_prior, SERIES[2], "before its rows: its prior")
    if not only_prior:
        _fill(fit, ax, found, BLUE, "after its rows: posterior", alpha=0.35)
    low, middle, high = found([tail, 0.5, 1 - tail])
    ax.plot([low, high], [UNDER, UNDER], color=BLUE, linewidth=2.2, solid_capstyle="butt")
    ax.plot([middle], [UNDER], "o", color=BLUE, markersize=5, label=f"median, {interval:.0%} interval")
    both = np.concatenate([of_population([0.01, 0.995]), found([0.0005, 0.9995])])
    ax.set(
        xlim=_with_margin(float(both.min()), float(both.max()), logarithmic=is_positive(fit)),
        ylim=(-0.17, 1.08),
        yticks=[],
        xlabel="popularity z",
    )
    if is_positive(fit):
        ax.set_xscale("log")
        label_popularity(ax.xaxis)
    ax.set_ylabel("density, each to its own height")
    when = ", last period" if catalogue.periods > 1 else ""
    ax.set_title(f"{clean(title or item)}: popularity{when}", parse_math=False, fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return ax


def _with_margin(low: float, high: float, *, logarithmic: bool) -> tuple[float, float]:
    """Return the ends of an axis a little outside of what it shows."""
    if logarithmic:
        edge = (high / low) ** 0.03
        return low / edge, high * edge
    return low - 0.03 * (high - low), high + 0.03 * (high - low)


def described_in_words(ax: Axes, fit: Trained, item: str, interval: float = 0.9) -> str:
    """Return what the plot shows, for those who do not see it."""
    cells = fit.popularity(interval).set_index("item").loc[[item]]
    row = cells.iloc[-1]
    return (
        f"{ax.get_title()}. Posterior mean {row['mean']:.3g}, {interval:.0%} interval {row['lower']:.3g} to {row['upper']:.3g}, "
        f"over the distribution of the population."
    )


def _density(fit: Trained, quantiles: Callable[[Sequence[float]], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return places and densities on the scale of the axis, the highest of which is 1."""
    z = quantiles(LEVELS.tolist())
    at = np.log(np.maximum(z, np.finfo(float).tiny)) if is_positive(fit) else z
    step, apart = np.diff(LEVELS), np.diff(at)
    wide = apart > 1e-9 * max(float(np.ptp(at)), 1e-12)
    if not wide.any():  # a point
        return np.array([z[0], z[0]]), np.array([0.0, 1.0])
    middle, height = (at[1:] + at[:-1])[wide] / 2, (step / np.where(wide, apart, 1.0))[wide]
    return np.exp(middle) if is_positive(fit) else middle, height / height.max()


def _fill(
    fit: Trained, ax: Axes, quantiles: Callable[[Sequence[float]], np.ndarray], color: str, label: str, *, alpha: float
) -> None:
    place, height = _density(fit, quantiles)
    ax.fill_between(place, height, color=color, alpha=alpha, linewidth=0, label=label)
    ax.plot(place, height, color=color, linewidth=1.4)


def _line(fit: Trained, ax: Axes, quantiles: Callable[[Sequence[float]], np.ndarray], color: str, label: str) -> None:
    ax.plot(*_density(fit, quantiles), color=color, linewidth=1.4, linestyle="--", label=label)
