"""Plot of what lists show along the knob between the population's popularity and an item's own."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from pyro_popbias.report.figure import BLUE, GREY, RED, Target, axes_for


def along_the_share(
    shares: Sequence[float],
    tail_share: Sequence[float],
    gini: Sequence[float],
    ax: Target = None,
    *,
    at: float | None = None,
) -> Axes:
    """Plot how much of lists items of the long tail have, and how unequally items are shown, against the share.

    Args:
        shares: positions of the knob, increasing.
        tail_share: at each, the share of places that items outside of the most popular fifth have.
        gini: at each, the Gini coefficient of how often items are shown.
        ax: axes to draw into; those of a new figure if left out.
        at: where the knob stands; None draws no mark.
    """
    ax = axes_for(ax, width=5.0, height=3.2)
    if at is not None:
        ax.axvline(at, color=GREY, linewidth=1.2, linestyle="--", label=f"the knob: {at:g}")
    ax.plot(shares, tail_share, "o-", color=BLUE, markersize=5, label="long tail: share of places")
    ax.plot(shares, gini, "s-", color=RED, markersize=5, label="Gini: how unequally items are shown")
    ax.set(ylim=(-0.03, 1.03), xlabel="share of an item's own popularity", title="What lists show along the knob")
    ax.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return ax
