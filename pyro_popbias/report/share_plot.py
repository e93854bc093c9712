"""Plot of what lists show along the knob between the population's popularity and an item's own."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pyro_popbias.report.figure import BLUE, GREY, RED, Target, axes_for


def along_the_share(
    shares: Sequence[float], mean_rows: Sequence[float], ax: Target = None, *, at: float | None = None
) -> Axes:
    """Plot how popular the items of lists are, in rows of the fit, against the share of their own popularity.

    Args:
        shares: positions of the knob, increasing.
        mean_rows: at each, the rows of a listed item on average.
        ax: axes to draw into; those of a new figure if left out.
        at: where the knob stands; None draws no mark.
    """
    ax = axes_for(ax, width=5.0, height=3.0)
    ax.plot(shares, mean_rows, "o-", color=BLUE, markersize=5)
    if at is not None:
        here = float(np.interp(at, shares, mean_rows))
        ax.axvline(at, color=GREY, linewidth=1.2, linestyle="--")
        ax.plot([at], [here], "o", color=RED, markersize=8)
        side = "left" if at < 0.5 else "right"
        ax.annotate(
            f"the knob: {here:,.0f}",
            (at, here),
            (9 if side == "left" else -9, -16 if mean_rows[-1] >= mean_rows[0] and side == "left" else 9),
            textcoords="offset points",
            color=RED,
            horizontalalignment=side,
            fontsize=9,
        )
    ax.set(
        ylim=(0, 1.15 * max(mean_rows)),
        xlabel="share of an item's own popularity",
        ylabel="rows of the mean listed item",
        title="How popular listed items are",
    )
    return ax
