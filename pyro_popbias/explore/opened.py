"""A fit with what its pages need: titles, a test, and figures that are computed once."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, final

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from scipy import sparse

from pyro_popbias.data.interactions import Interactions
from pyro_popbias.distributions import quantile
from pyro_popbias.errors import PopBiasError
from pyro_popbias.explore.not_here import NotHere
from pyro_popbias.explore.search import Index
from pyro_popbias.explore.shown import Shown, sample_of_users, shown_under
from pyro_popbias.fitted import Fit
from pyro_popbias.models.priors.prior import SharedPrior
from pyro_popbias.prediction.item_table import last_cells
from pyro_popbias.prediction.partial_popularity import PartialPopularity
from pyro_popbias.prediction.recommendation import recommend_items
from pyro_popbias.prediction.scorer import Scorer, seen_items
from pyro_popbias.report.figure import clean, new_axes
from pyro_popbias.report.picture import Picture

LONGEST = 120  # characters of a title
DRAWING = threading.Lock()  # matplotlib's fonts are not for several threads


@final
@dataclass(frozen=True, eq=False)
class Opened:
    """A fit that is looked at. Nothing of it is written to.

    Attributes:
        fit: the fit.
        titles: of items.
        test: rows that the fit has not seen; None without.
        late: what is computed beside the pages, by name: figures, or the error in their place.
    """

    fit: Fit
    titles: Mapping[str, str]
    test: Interactions | None = None
    late: dict[str, Any] = field(default_factory=dict)

    def prepare(self, ended: Callable[[], bool]) -> None:
        """Compute what takes longer than a reader waits for a page.

        Args:
            ended: whether nobody will read it any more.
        """
        import pyro_popbias.report.fit_plots  # noqa: F401  and with it what draws

        parts = {"modes": self._shown_by_mode, "shares": self._shown_by_share, "trade_off": self._trade_off}
        for name, compute in parts.items():
            if ended():
                return
            try:
                self.late[name] = compute()
            except PopBiasError as error:
                self.late[name] = error

    def code(self, kind: Literal["user", "item"], one: str) -> int:
        """Return the code of an id.

        Raises:
            NotHere: the fit does not know it.
        """
        ids = getattr(self.fit.catalogue, f"{kind}s")
        code = int(ids.get_indexer(pd.Index([one]))[0])
        if code < 0:
            raise NotHere(kind, one)
        return code

    @cached_property
    def periods(self) -> int:
        """How many there are."""
        return self.fit.catalogue.periods

    @cached_property
    def modes(self) -> tuple[str, ...]:
        """The modes of popularity that say something else than the others."""
        shared = isinstance(self.fit.model.prior, SharedPrior)  # then the prior is the population
        forecast = ("forecast",) if self.fit.model.prior.joins_periods else ()
        return "population", *(() if shared else ("prior",)), "posterior", *forecast, "none"

    @cached_property
    def popularity(self) -> pd.DataFrame:
        """The table of popularity, one row per cell."""
        return self.fit.popularity()

    @cached_property
    def last(self) -> pd.DataFrame:
        """One row per item, by its id, with its popularity in its last period with rows and how often it was seen in all."""
        table = self.popularity.iloc[last_cells(self.fit.catalogue)].set_index("item")
        return table.assign(count=self._total("count"), positives=self._total("positives"))

    def _total(self, name: str) -> np.ndarray:
        return np.asarray(getattr(self.fit.catalogue, name).reshape(-1, self.periods).sum(1))

    @cached_property
    def population_ends(self) -> tuple[float, float]:
        """The 90 % interval of the population."""
        population = self.fit.model.prior.population()
        with torch.no_grad():
            return float(quantile(population, 0.05)), float(quantile(population, 0.95))

    @cached_property
    def users(self) -> pd.DataFrame:
        """The table of users, by id, where they have a bias or a conformity."""
        return self.fit.users().set_index("user")

    @cached_property
    def items_index(self) -> Index:
        """What a search of items looks through."""
        items = self.fit.catalogue.items
        return Index(items, [self.titles.get(item, "") for item in items], self.last["count"].to_numpy())

    @cached_property
    def users_index(self) -> Index:
        """What a search of users looks through."""
        users, count = self.fit.catalogue.users, self.fit.catalogue.user_count
        return Index(users, [""] * len(users), np.zeros(len(users)) if count is None else count)

    @cached_property
    def place(self) -> "pd.Series[int]":
        """The place of each item by its popularity, the most popular 1; by item."""
        return self.last["mean"].rank(ascending=False, method="min").astype(int)

    @cached_property
    def seen(self) -> sparse.csr_array | None:
        """What lists leave out; None where the run was saved without its rows."""
        return None if self.fit.known is None else seen_items(self.fit.known)

    @cached_property
    def knob(self) -> PartialPopularity:
        """Popularity between the population's and an item's own."""
        return PartialPopularity.of(self.fit.scorer("none"))

    def scorer(self, popularity: str | float) -> Scorer:
        """Return what scores under a mode, or at a share of the knob."""
        if isinstance(popularity, str):
            return self.fit.scorer(popularity)
        return replace(self.fit.scorer("none"), popularity=self.knob.at(popularity))

    def recommend(self, users: Sequence[str], popularity: str | float, k: int) -> pd.DataFrame:
        """Return lists under a mode, or at a share of the knob, as `Fit.recommend` does."""
        return recommend_items(self.scorer(popularity), users, k, seen=self.seen)

    def effect(self, user: str) -> Axes:
        """Plot a user's list before and after the intervention."""
        return self.fit.plot.effect(
            user, new_axes(width=8.6, height=4.2), exclude_seen=self.seen is not None, titles=self.titles
        )

    def title(self, item: str) -> str:
        """Return an item's title, or its id, as one line that is not too long."""
        return clean(self.titles.get(item, item), LONGEST)

    def _shown(self, popularity: str | float) -> Shown:
        return shown_under(self.recommend, sample_of_users(self.fit.catalogue), popularity, self.fit.catalogue)

    def _shown_by_mode(self) -> dict[str, Shown]:
        return {mode: self._shown(mode) for mode in self.modes}

    def _shown_by_share(self) -> dict[float, Shown]:
        return {share: self._shown(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)}

    def _trade_off(self) -> pd.DataFrame | None:
        return None if self.test is None else self.fit.trade_off(self.test)


def drawn(draw: Callable[[], Axes], words: Callable[[Axes], str] | None = None) -> Picture:
    """Return what a plot draws as a picture of a page.

    Args:
        draw: draws it.
        words: from its axes to the alternative text; their title if left out.
    """
    with DRAWING:
        ax = draw()
        return Picture.of(ax, None if words is None else words(ax))
