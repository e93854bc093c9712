"""Plot of the ranks of simulated items: how far their distribution in q, and in the exact posterior, is from uniform."""

import numpy as np
from matplotlib.axes import Axes

from pyro_popbias.checks.accuracy import ROWS
from pyro_popbias.checks.simulated_ranks import BOUND, SimulatedRanks, by_chance
from pyro_popbias.report.figure import BLUE, GREY, Target, axes_for

BAND = 0.95  # probability that uniform ranks stay inside, at all u together
POINTS = 1001
BELOW, ABOVE = 1.2, 1.8  # ends of the axis, times the largest of what is drawn: the legend stands above


def rank_plot(found: SimulatedRanks, ax: Target = None) -> Axes:
    """Plot F(u) - u of the ranks of items with 20 or more rows, F the share of ranks up to u, and return the axes.

    Exact posteriors stay inside the band with a probability of 95 %, at all u together. A curve that falls below 0 on the left
    and rises above it on the right belongs to a q that is too wide, the reverse to one that is too narrow; a curve above 0
    throughout to one whose values are too high. Dashed lines are the bound of the guide.

    Args:
        found: the ranks.
        ax: axes to draw into; those of a new figure if left out.
    """
    ax = axes_for(ax, width=6.0)
    table = found.part(f"{ROWS} and more")
    u, half = np.linspace(0, 1, POINTS), by_chance(max(len(table), 1), 1 - BAND)
    ax.axhspan(-half, half, color=GREY, alpha=0.2, linewidth=0, label=f"{BAND:.0%} band of uniform ranks")
    ax.axhline(0, color=GREY, linewidth=0.6)
    for sign in (-1, 1):
        ax.axhline(sign * BOUND, color=GREY, linewidth=0.8, linestyle="--")
    largest = max(half, BOUND)
    for column, color, label in (("exact", GREY, "exact posterior (control)"), ("guide", BLUE, f"guide {found.guide}")):
        excess = above_uniform(table[column].to_numpy(), u)
        largest = max(largest, float(np.abs(excess).max()))
        ax.plot(u, excess, color=color, linewidth=1.5, label=label)
    ax.set(
        xlabel="rank u of the true popularity",
        ylabel="share of items with rank up to u, less u",
        title=f"Ranks of {len(table)} simulated items",
        xlim=(0, 1),
        ylim=(-BELOW * largest, ABOVE * largest),
    )
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    return ax


def above_uniform(ranks: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Return F(u) - u at some u, F the share of ranks `(N,)` up to u; zeros where there are no ranks."""
    if not len(ranks):
        return np.zeros_like(u)
    return np.asarray(np.searchsorted(np.sort(ranks), u, side="right") / len(ranks) - u)
