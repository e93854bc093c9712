"""Plot of how unequally items are shown in users' lists, under each popularity mode.

A Lorenz curve is read from the top here, over a logarithmic number of items: the share of all places that the n items have that
are shown most. From the bottom, 99 of 100 items of a large catalogue have none, and all curves are one corner.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.evaluation.popularity_bias import gini, lorenz
from pyro_popbias.models.priors.prior import SharedPrior
from pyro_popbias.report.figure import BLUE, GREY, RED, SERIES, Target, axes_for
from pyro_popbias.trained import Trained
from pyro_popbias.validation import require_integer, require_seed

COLORS = {"none": GREY, "population": BLUE, "prior": SERIES[2], "posterior": RED}
WIDTHS = (4.0, 2.8, 1.8, 1.0)  # of curves, in points


def exposure(
    fit: Trained,
    recommend: Callable[..., pd.DataFrame],
    ax: Target = None,
    *,
    k: int = 10,
    users: int | None = 500,
    exclude_seen: bool = True,
    seed: int = 0,
) -> Axes:
    """Plot the Lorenz curves of what users would be shown under each popularity mode, and of the rows of the fit, from the top.

    A curve is the share of all places of lists that the n most shown items have. Modes that show every item equally often share
    a curve. Few users have few places: with fewer of them than items no lists can be like "all items equally often".

    Args:
        fit: the fit.
        recommend: its `Fit.recommend`.
        ax: axes to draw into; those of a new figure if left out.
        k: length of the lists.
        users: how many users, drawn at random, the lists are of; None is all.
        exclude_seen: as in `Fit.recommend`.
        seed: of the sample of users.

    Raises:
        DataError: the run was saved without its interactions, and seen items are to be excluded.
        ConfigError: an argument is out of its range.
    """
    chosen, catalogue = _sample(fit.catalogue, users, require_seed(seed)), fit.catalogue
    shown = {}
    for mode in COLORS:
        if mode != "prior" or not isinstance(fit.model.prior, SharedPrior):  # else it is the population
            table = recommend(chosen, k=k, popularity=mode, exclude_seen=exclude_seen)
            shown[mode] = np.bincount(
                catalogue.items.get_indexer(pd.Index(table["item"])), minlength=len(catalogue.items)
            )
    ax = axes_for(ax, width=6.5, height=4.8)
    n = np.arange(1, len(catalogue.items) + 1)
    ax.plot(n, n / n[-1], color="black", linewidth=0.8, label="all items equally often: Gini 0")
    rows = catalogue.count.reshape(-1, catalogue.periods).sum(1)
    _curve(ax, rows, "training rows", color="black", linestyle="--", linewidth=1.2)
    for number, (names, counts) in enumerate(_distinct(shown).items()):
        # narrower ones above: all are seen where they are close
        _curve(ax, counts, ", ".join(names), color=COLORS[names[-1]], linewidth=WIDTHS[number])
    ax.set(
        xscale="log",
        xlabel=f"number of items, of {len(rows):,}, the most shown first",
        ylabel="share of all places that they have",
        title=f"What the lists of {len(chosen):,} users show: {k} items each",
        xlim=(1, len(rows)),
        ylim=(0, 1.02),
    )
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, fontsize=9)
    return ax


def _sample(catalogue: Catalogue, users: int | None, seed: int) -> "pd.Index[str]":
    """Return the ids of some users, in the order of their codes."""
    known = len(catalogue.users)
    number = known if users is None else min(require_integer("users", users, 1), known)
    return catalogue.users[np.sort(np.random.default_rng(seed).choice(known, number, replace=False))]


def _distinct(shown: Mapping[str, np.ndarray]) -> dict[tuple[str, ...], np.ndarray]:
    """Return the counts of modes, those with equal ones together."""
    found: dict[bytes, tuple[str, ...]] = {}
    for mode, counts in shown.items():
        found[counts.tobytes()] = (*found.get(counts.tobytes(), ()), mode)
    return {names: shown[names[0]] for names in found.values()}


def _curve(ax: Axes, counts: np.ndarray, name: str, **style: object) -> None:
    """Draw the curve of some counts `(K,)`."""
    label = f"{name}: Gini {gini(counts[None])[0]:.3f}, {np.count_nonzero(counts):,} items"
    ax.plot(np.arange(1, len(counts) + 1), 1 - lorenz(counts)[-2::-1], label=label, **style)  # type: ignore[arg-type]
