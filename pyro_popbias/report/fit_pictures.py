"""The pictures of a fit, `fit.plot`. Matplotlib is imported when the first of them is drawn."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, final

import pandas as pd

from pyro_popbias.checks.check import Check
from pyro_popbias.report.titles import read_titles
from pyro_popbias.trained import Trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pyro_popbias.report.figure import Target


@final
class FitPictures:
    """The pictures of a fit: each is drawn into the axes it is given, or into those of a new figure of pyplot, and returns them.

    Ids and titles are drawn literally, never parsed as formulas, and shortened where they are long. `titles` is what
    `Fit.report` takes: a mapping from item to title, a table with columns item and title, or its file; an item without a title
    is shown by its id.

    Args:
        fit: a fit, or a trained pair.
        recommend: its `Fit.recommend`.
    """

    __slots__ = ("_fit", "_recommend")

    def __init__(self, fit: Trained, recommend: Callable[..., pd.DataFrame]) -> None:
        self._fit, self._recommend = fit, recommend

    def __dir__(self) -> list[str]:
        return sorted(PICTURES)

    def __repr__(self) -> str:
        return f"pictures: {', '.join(PICTURES)}"

    def popularity(
        self, ax: "Axes | None" = None, *, number: int = 10, interval: float = 0.9, titles: Any = None
    ) -> "Axes":
        """Plot the most and the least popular items of the last period, with the intervals of their posteriors.

        Args:
            ax: axes to draw into; those of a new figure if left out.
            number: items at each end.
            interval: probability of the intervals.
            titles: of items.

        Raises:
            ConfigError: the number is not an integer >= 1, or the interval not between 0 and 1.
        """
        from pyro_popbias.report.fit_plots import popularity

        return popularity(self._fit, _into(ax), number=number, interval=interval, titles=read_titles(titles))

    def prior_posterior(self, ax: "Axes | None" = None) -> "Axes":
        """Plot the population distribution of popularity and the pooled posteriors of items, which agree if the first is right.

        Args:
            ax: axes to draw into; those of a new figure if left out.
        """
        from pyro_popbias.report.fit_plots import prior_posterior

        return prior_posterior(self._fit, _into(ax))

    def calibration(self, ax: "Axes | None" = None, *, interval: float = 0.9, seed: int = 0) -> "Axes":
        """Plot the observed share of positives against the predicted probability, in ten bins of equally many rows.

        Rows are those that training held out, or all rows where it held out none; the title says which.

        Args:
            ax: axes to draw into; those of a new figure if left out.
            interval: probability of the binomial intervals of the observed shares.
            seed: decides the sampled negatives, where there are any.

        Raises:
            DataError: the run was saved without its interactions, or they are on disk.
            IncompatibleError: scores of the model are not probabilities.
            ConfigError: the interval is not between 0 and 1, or the seed not an integer >= 0.
        """
        from pyro_popbias.report.calibration_plot import calibration

        return calibration(self._fit, _into(ax), interval=interval, seed=seed)

    def history(self, ax: "Axes | None" = None) -> "Axes":
        """Plot the training objective against seconds, for both phases.

        Args:
            ax: axes to draw into; those of a new figure if left out.
        """
        from pyro_popbias.report.fit_plots import history

        return history(self._fit, _into(ax))

    def drift(
        self,
        items: Iterable[Any] | None = None,
        ax: "Axes | None" = None,
        *,
        interval: float = 0.9,
        titles: Any = None,
    ) -> "Axes":
        """Plot the popularity of some items over periods, with intervals; open points are periods without a row of the item.

        Args:
            items: ids; by default the five with most rows.
            ax: axes to draw into; those of a new figure if left out.
            interval: probability of the intervals.
            titles: of items.

        Raises:
            ConfigError: the fit has one period, or the interval is not between 0 and 1.
            DataError: items are unseen, or there are none.
        """
        from pyro_popbias.report.drift_plot import drift

        return drift(self._fit, items, _into(ax), interval=interval, titles=read_titles(titles))

    def effect(
        self,
        user: Any,
        ax: "Axes | None" = None,
        *,
        k: int = 10,
        before: Any = "posterior",
        after: Any = "population",
        interval: float = 0.9,
        exclude_seen: bool = True,
        titles: Any = None,
    ) -> "Axes":
        """Plot a user's list before and after the intervention, ranks joined by lines, with the intervals of scores.

        Args:
            user: an id.
            ax: axes to draw into; those of a new figure if left out.
            k: length of the lists.
            before: popularity of the list on the left, as in `Fit.predict`; by default each item's own.
            after: likewise of the list on the right; by default the population's, for all items the same.
            interval: probability of the intervals, of which there are none where affinities are point estimates.
            exclude_seen: leave out items that the user has a row of.
            titles: of items.

        Raises:
            DataError: the user is unseen or has seen all items, or the run was saved without its interactions and seen items
                are to be excluded.
            UnknownNameError: there is no such mode of popularity.
            ConfigError: the user is not one id, or an argument is out of its range.
        """
        from pyro_popbias.report.effect_plot import effect

        options: dict[str, Any] = {"k": k, "interval": interval, "exclude_seen": exclude_seen}
        return effect(
            self._recommend,
            user,
            _into(ax),
            modes=(before, after),
            titles=read_titles(titles),
            fit=self._fit,
            **options,
        )

    def exposure(
        self,
        ax: "Axes | None" = None,
        *,
        k: int = 10,
        users: int | None = 500,
        exclude_seen: bool = True,
        seed: int = 0,
    ) -> "Axes":
        """Plot how unequally items are shown in users' lists under each popularity mode: Lorenz curves and Gini coefficients.

        Args:
            ax: axes to draw into; those of a new figure if left out.
            k: length of the lists.
            users: how many users, drawn at random, the lists are of; None is all.
            exclude_seen: leave out items that a user has a row of.
            seed: decides the sample of users.

        Raises:
            DataError: the run was saved without its interactions, and seen items are to be excluded.
            ConfigError: an argument is out of its range.
        """
        from pyro_popbias.report.exposure_plot import exposure

        options: dict[str, Any] = {"k": k, "users": users, "exclude_seen": exclude_seen, "seed": seed}
        return exposure(self._fit, self._recommend, _into(ax), **options)

    def check(self, ax: "Axes | None" = None, *, checked: Check | None = None, seed: int = 0) -> "Axes":
        """Plot how far each statistic of the predictive checks is from its replicates, as a share of what is allowed.

        Args:
            ax: axes to draw into; those of a new figure if left out.
            checked: what `Fit.check` returned; the checks are run if it is left out, which takes a while.
            seed: decides every draw of the checks.

        Raises:
            DataError: the fit has no interactions, or a column of theirs that it needs was not saved.
            IncompatibleError: the model has no labels to replicate.
            ConfigError: the seed is not an integer >= 0.
        """
        from pyro_popbias.report.check_plots import predictive

        return predictive(self._fit, _into(ax), checked=checked, seed=seed)


PICTURES = tuple(name for name in vars(FitPictures) if not name.startswith("_"))


def _into(ax: "Axes | None") -> "Target":
    """Return where a picture is drawn: without axes into a figure that the user's notebook or window shows.

    Raises:
        ConfigError: these are no axes.
    """
    from pyro_popbias.report.figure import axes_for, pyplot_axes

    return pyplot_axes if ax is None else axes_for(ax)
