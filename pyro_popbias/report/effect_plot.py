"""Plot of a user's list before and after the intervention: two columns of ranks, joined by lines."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pyro_popbias.errors import ConfigError, DataError
from pyro_popbias.report.figure import BLUE, GREY, RED, Target, axes_for, clean, clean_labels
from pyro_popbias.trained import Trained
from pyro_popbias.validation import require_integer

DEEPEST = 1000  # rank up to which that of an item outside the list is told
HEIGHT = 0.27  # of a rank, in inches
WIDTH = 4.8  # of a new figure without names, in inches
STRIP, GAP = 0.09, 0.03  # of scores, and beside it, shares of the width
WIDEST = 0.235  # of names, likewise
LETTER = 0.58  # width of a letter, a share of the size of its font
LARGE, SMALL = 8.5, 7.5  # sizes of fonts, in points
HEAD = 1.7  # size with which both headings have room side by side, per inch of width
MODES = {
    "posterior": "own popularity",
    "prior": "own prior of popularity",
    "population": "population's popularity",
    "none": "no popularity",
}


@dataclass(frozen=True, eq=False)
class Lists:
    """A user's lists before and after.

    Attributes:
        tables: as `Fit.recommend` returns them.
        ranks: of each item of either list, before and after, as far as they are known.
    """

    tables: tuple[pd.DataFrame, pd.DataFrame]
    ranks: tuple[Mapping[str, int], Mapping[str, int]]

    @classmethod
    def of(
        cls, recommend: Callable[..., pd.DataFrame], user: Any, modes: Sequence[Any], k: int, **options: Any
    ) -> "Lists":
        """Return the lists of a user under two popularities.

        Args:
            recommend: as `Fit.recommend`.
            user: an id.
            modes: popularity before and after.
            k: length of the lists.
            options: of `recommend`.

        Raises:
            DataError: the user has seen all items.
        """
        tables, ranks = [], []
        for mode in modes:
            table, deep = (recommend([user], k=n, popularity=mode, **options) for n in (k, max(k, DEEPEST)))
            if not len(table):
                raise DataError(
                    f"PB-D500: user {clean(str(user))} has a row of every item, so nothing is left to list; "
                    "pass exclude_seen=False"
                )
            listed = dict(zip(table["item"], table["rank"], strict=True))
            below = {item: max(rank, k + 1) for item, rank in zip(deep["item"], deep["rank"], strict=True)}
            tables.append(table)
            ranks.append(below | listed)
        return cls((tables[0], tables[1]), (ranks[0], ranks[1]))


def effect(
    recommend: Callable[..., pd.DataFrame],
    user: Any,
    ax: Target = None,
    *,
    fit: Trained,
    modes: Sequence[Any] = ("posterior", "population"),
    k: int = 10,
    titles: Mapping[str, str] | None = None,
    **options: Any,
) -> Axes:
    """Plot a user's k best items under two popularities, best at the top, ranks joined by lines.

    Items that fall are red and those that rise blue. Those that are in one list only have an open point, and beside it their rank
    in the other. Bars are the intervals of scores, where there are any: two items whose bars overlap are not told apart.

    Args:
        recommend: as `Fit.recommend`.
        user: an id.
        ax: axes to draw into; those of a new figure if left out.
        fit: whose method that is.
        modes: popularity of the list on the left and of that on the right.
        k: length of the lists.
        titles: maps item ids to titles; an item without one is shown by its id.
        options: `interval` and `exclude_seen` of `recommend`.

    Raises:
        DataError: the user is unseen or has seen all items, or seen items are not known.
        UnknownNameError: there is no such mode of popularity.
        ConfigError: the user is not one id, or an argument is out of its range.
    """
    k = require_integer("k", k, 1)
    if np.ndim(user) or isinstance(user, set | dict):
        raise ConfigError(f"PB-C522: user={clean(repr(user))} is not one id; draw one picture for each user")
    lists = Lists.of(recommend, user, modes, k, **options)
    length = max(len(table) for table in lists.tables)
    labels = [[(titles or {}).get(item, item) for item in table["item"]] for table in lists.tables]
    room = LETTER * LARGE / 72 * (1 + max(len(clean(label)) for label in itertools.chain(*labels)))
    width = min(WIDTH + 2 * room, WIDTH / (1 - 2 * WIDEST))
    own, ax = not isinstance(ax, Axes), axes_for(ax, width=width, height=1.5 + HEIGHT * length)
    ax.set(xlim=(0, 1), ylim=(length + 1.6, -1.2))
    ax.axis("off")
    figure = ax.get_figure(root=True)
    assert figure is not None  # noqa: S101  axes are drawn in one
    if own:
        figure.draw_without_rendering()  # axes take the whole of it
    inches = ax.get_window_extent().width / figure.dpi
    columns = [Column(side, min(WIDEST, room / inches)) for side in (0, 1)]
    longest = max(int(72 * WIDEST * inches / (LETTER * LARGE)), 4)
    _lines(ax, lists, columns)
    _scores(ax, lists, columns, length, options.get("interval", 0.9))
    rows = fit.catalogue.count.reshape(-1, fit.catalogue.periods).sum(1)
    for column, table, of_list, mode in zip(columns, lists.tables, labels, modes, strict=True):
        for rank, name in zip(table["rank"], clean_labels(of_list, longest), strict=True):
            column.write(ax, column.name, rank, name, fontsize=LARGE, clip_on=True)
        mean = rows[fit.catalogue.items.get_indexer(pd.Index(table["item"]))].mean()
        head: dict[str, Any] = {"align": 1 - column.side, "fontsize": min(LARGE, HEAD * inches)}
        column.write(
            ax, column.side, -0.75, f"{'After' if column.side else 'Before'}: {_named(mode)}", weight="bold", **head
        )
        column.write(ax, column.side, -0.05, f"items of {mean:,.0f} rows on average", color="0.35", **head)
    ax.set_title(f"What the intervention changes for user {clean(str(user))}", parse_math=False)
    return ax


@dataclass(frozen=True)
class Column:
    """Where a list stands: its points, and beside them ranks, a strip of scores and names, in shares of the width.

    Attributes:
        side: 0 on the left, 1 on the right.
        width: of its names.
    """

    side: int
    width: float

    def outside(self, distance: float) -> float:
        """Return the place at a distance from the nearer edge of the picture."""
        return 1 - distance if self.side else distance

    @property
    def name(self) -> float:
        """Where names begin on the right, and end on the left."""
        return self.outside(self.width)

    @property
    def strip(self) -> tuple[float, float]:
        """Both ends of the strip of scores, from left to right."""
        ends = sorted((self.outside(self.width + GAP / 2), self.outside(self.width + GAP / 2 + STRIP)))
        return ends[0], ends[1]

    @property
    def rank(self) -> float:
        """Where ranks begin on the right, and end on the left."""
        return self.outside(self.width + STRIP + 1.6 * GAP)

    @property
    def point(self) -> float:
        """Where lines end."""
        return self.outside(self.width + STRIP + 2 * GAP)

    def write(self, ax: Axes, x: float, y: float, words: str, *, align: int | None = None, **style: Any) -> None:
        """Write from a place towards the outside, or where `align` is the other side's, inwards."""
        side = "left" if (self.side if align is None else align) else "right"
        defaults: dict[str, Any] = {"fontsize": SMALL, "verticalalignment": "center", "parse_math": False}
        ax.text(x, y, words, horizontalalignment=side, **(defaults | style))


def _named(mode: Any) -> str:
    if isinstance(mode, str):
        return MODES.get(mode, mode)
    return f"z = {mode:g} for all items" if isinstance(mode, int | float) else "given popularity"


def _lines(ax: Axes, lists: Lists, columns: Sequence[Column]) -> None:
    """Draw the points of both columns with their ranks, lines between them, and where items come from or go to."""
    for column, table, others in zip(columns, lists.tables, lists.tables[::-1], strict=True):
        for item, rank in zip(table["item"], table["rank"], strict=True):
            before, after = (ranks.get(item, DEEPEST + 1) for ranks in lists.ranks)
            color = BLUE if after < before else RED if after > before else GREY
            stays, place = item in set(others["item"]), column.point
            face = color if stays else "white"
            ax.plot([place], [rank], "o", color=color, markerfacecolor=face, markersize=5.5, zorder=3)
            column.write(ax, column.rank, rank, str(rank), color="0.35")
            if stays and not column.side:
                ax.plot([place, columns[1].point], [before, after], color=color, linewidth=1.5, zorder=1)
            if not stays:
                other = before if column.side else after
                told = f"{other:,}" if other <= DEEPEST else f"beyond {DEEPEST:,}"
                inside = place + (-0.012 if column.side else 0.012)
                box: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
                words = f"from {told}" if column.side else f"to {told}"
                column.write(ax, inside, rank, words, align=1 - column.side, color=color, zorder=2, bbox=box)


def _scores(ax: Axes, lists: Lists, columns: Sequence[Column], length: int, interval: float) -> None:
    """Draw the scores of both lists with their intervals in strips of one scale, and the ends of the scale."""
    both = pd.concat(lists.tables)[["score", "score_lower", "score_upper"]].to_numpy(dtype=float)
    low, high = np.nanmin(both), np.nanmax(both)
    known = bool(np.isfinite(both).all())
    for column, table in zip(columns, lists.tables, strict=True):
        ends = column.strip
        score, lower, upper = (
            ends[0] + (ends[1] - ends[0]) * (table[name].to_numpy(dtype=float) - low) / max(high - low, 1e-12)
            for name in ("score", "score_lower", "score_upper")
        )
        if known:
            ax.hlines(table["rank"], lower, upper, color="0.6", linewidth=1.4)
        ax.plot(score, table["rank"], "|", color="0.2", markersize=7, markeredgewidth=1.6)
        ax.plot(ends, [length + 0.75] * 2, "-|", color="0.5", linewidth=0.8)
        for place, value in zip(ends, (low, high), strict=True):
            ax.text(place, length + 0.95, f"{value:.2g}", fontsize=SMALL, color="0.35", ha="center", va="top")
    words = f"score, {interval:.0%} interval" if known else "score"
    ax.text(0.5, length + 0.75, words, fontsize=SMALL, color="0.35", ha="center", va="center")
