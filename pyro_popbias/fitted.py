"""A fit: what a user holds after training. Every result is a frame with the user's own ids."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from types import EllipsisType
from typing import Any, Literal

import pandas as pd

from pyro_popbias.assembly.pair import with_names
from pyro_popbias.assembly.tables import interactions_for, pairs_like, rows_like
from pyro_popbias.assembly.training_data import given_score
from pyro_popbias.checks.check import Check, check
from pyro_popbias.data.frames import Table
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.periods import PeriodBy
from pyro_popbias.errors import DataError
from pyro_popbias.guides import PopularityGuide
from pyro_popbias.inference_data.convert import GROUPS, container
from pyro_popbias.models import PopularityModel
from pyro_popbias.prediction.pairs import Pairs, predict_pairs
from pyro_popbias.prediction.recommendation import recommend_items
from pyro_popbias.prediction.scorer import seen_items
from pyro_popbias.report.fit_overview import overview_of
from pyro_popbias.report.fit_pictures import FitPictures
from pyro_popbias.storage.card import card
from pyro_popbias.storage.reading import read_run
from pyro_popbias.storage.run_folder import save
from pyro_popbias.storage.trainings import train_study
from pyro_popbias.study.study import Study
from pyro_popbias.trained import Trained
from pyro_popbias.validation import require_integer, require_seed


class Fit(Trained):
    """A trained pair, and what a user asks of it."""

    def __repr__(self) -> str:
        return overview_of(self, self.last_check).text()

    def _repr_html_(self) -> str:
        return overview_of(self, self.last_check).html()

    def predict(
        self,
        frame: Table,
        popularity: str | float | Mapping[Any, float] = "population",
        interval: float = 0.9,
        unseen: Literal["error", "prior", "drop"] = "error",
        *,
        calibrated: bool = False,
    ) -> pd.DataFrame:
        """Return P(c=1 | do(u,i)) of pairs, in the frame's order.

        Args:
            frame: columns user and item, or those that the fit read them from, and the study's score column if it has one;
                other columns and the index are ignored.
            popularity: the distribution of popularity z to integrate over: "population" (one for all items), "prior" (the
                item's own), "posterior" (the item's q) or "none" (the affinity alone). A number sets z for all items,
                a mapping from item to number sets it per item: do(z = value). It must hold every item of the frame and
                may hold others. {"forecast": a} sets it to the item's last posterior mean plus a times its last move
                between periods.
            interval: probability between score_lower and score_upper, and of popularity between popularity_lower and
                popularity_upper; above 0 and below 1.
            unseen: what to do with ids that the fit does not know: "error", "prior" for the prior mean of their
                affinity, or "drop" for leaving their rows out.
            calibrated: where negatives were sampled, whether probabilities are those over the catalogue: that the user has a
                positive of the item in a log such as the fit's. Without it they are those within the design, 1 / (1 + m) on
                average whatever the catalogue's size. Unseen users are taken to have the mean number of positives.

        Returns:
            user, item, score, score_lower, score_upper, popularity_lower, popularity_upper, score_sd, cold: probabilities;
            for `pda`, scores without an upper bound. score_lower and score_upper are the score's own interval, at the
            quantiles of the affinity's posterior, and score_sd its standard deviation; all three are NaN where affinities
            are point estimates. popularity_lower and popularity_upper say how far popularity moves the probability: they
            are not an error bar of the score, and equal it under "none" and given values. cold marks items without a
            training row: what the data say about others is all that is known of them, and their popularity has the
            population distribution in every mode, or the prior that counts gave them.

        Raises:
            DataError: a column is missing or a duplicate, ids are unseen, or a mapping lacks items.
            UnknownNameError: there is no such mode of popularity.
            ConfigError: a value of popularity is outside of its support, the interval is not between 0 and 1, or scores
                cannot be calibrated: labels are the data's own, or the model is `pda`.
        """
        scorer = self.scorer(popularity, interval, calibrated=calibrated)
        pairs = Pairs.from_frame(pairs_like(frame, self.study), self.catalogue, unseen=unseen)
        return predict_pairs(scorer, pairs, score=given_score(pairs.frame, self.study))

    def recommend(
        self,
        users: Iterable[Any] | None = None,
        k: int = 10,
        popularity: str | float | Mapping[Any, float] = "population",
        exclude_seen: bool = True,
        *,
        interval: float = 0.9,
        p_top_k: bool = False,
        seed: int = 0,
        calibrated: bool = False,
        items: Iterable[Any] | None = None,
        exclude: Iterable[Any] | None = None,
        unseen: Literal["error", "prior", "drop"] = "error",
    ) -> pd.DataFrame:
        """Return each user's k items of highest P(c=1 | do(u,i)); of equal scores the item that the fit knows first.

        The data do not tell apart two items whose score intervals overlap: take their order as a tie.

        Args:
            users: ids; all users by default. A user listed more than once is answered once, in the place of the first.
            k: items per user.
            popularity: as in `predict`; a mapping must hold every item of the fit.
            exclude_seen: leave out items that the user has a row of, whatever its label.
            interval: as in `predict`.
            p_top_k: whether to add the probability of each item to be in the list. It takes about a hundred times as long.
            seed: decides the draws of p_top_k; a user's are the same whoever else is asked for.
            calibrated: as in `predict`. Lists are in the order of the calibrated scores: of two items of equal score within the
                design the less certain one gains.
            items: ids of the items to choose from; all by default. Unseen ones are left out, with a warning.
            exclude: ids of items that no list holds.
            unseen: what to do with users that the fit does not know: "error", "prior" for the list of a user of whom nothing is
                known, whose p_top_k is NaN, or "drop".

        Returns:
            user, rank (from 1), item, score, score_lower, score_upper, popularity_lower, popularity_upper, cold, as in
            `predict`; and p_top_k, the share of 100 draws of the affinity's vectors or weights in which the item is among
            the user's k best, NaN where they are point estimates. Its standard error is at most 0.05.

        Raises:
            DataError: users are unseen, a mapping lacks items, no item is left, or seen items are to be excluded and the run
                was saved without its interactions.
            UnknownNameError: there is no such mode of popularity.
            ConfigError: k is not an integer >= 1, a value of popularity is outside of its support, the interval is not
                between 0 and 1, or scores cannot be calibrated.
        """
        scorer = self.scorer(popularity, interval, calibrated=calibrated)
        k = require_integer("k", k, 1)
        known = self.known
        if exclude_seen and known is None:
            raise DataError(
                f"PB-D106: {self.unsaved}, so seen items are not known; "
                f"{'bring the log back' if self.absent else 'fit again with them'}, or in Python pass exclude_seen=False"
            )
        seen = seen_items(known) if exclude_seen and known is not None else None
        some: dict[str, Any] = {"items": items, "exclude": exclude, "unseen": unseen}
        return recommend_items(scorer, users, k, seen=seen, p_top_k=p_top_k, seed=require_seed(seed), **some)

    def to_arviz(
        self,
        draws: int = 1000,
        items: Iterable[Any] | None = None,
        rows: Iterable[int] | None = None,
        groups: tuple[str, ...] = GROUPS,
        seed: int = 0,
    ) -> Any:
        """Return the posterior, the prior and the data as ArviZ's container, with item ids as coordinates.

        Draws are independent draws of q from the seed: an item, or a row, has the same ones in any selection. Each
        item is drawn from its own marginal, so draws lack the correlations between items that `auto-low-rank` has.
        Point-estimated vectors stay at their estimates; where vectors have distributions, a row's affinity is drawn
        from a Normal of its mean and variance.

        Args:
            draws: draws of each cell in each chain; a chain per restart, the best first.
            items: ids; all items by default.
            rows: positions of interactions, for observed_data, predictive and log_likelihood groups; by default all
                where only observed_data is asked for, else a seeded sample of 1000 where there are more.
            groups: some of posterior, prior, observed_data, constant_data, prior_predictive, posterior_predictive,
                log_likelihood. The last three are given on request only. Where leave-one-out does not hold,
                log_likelihood warns and has the reason as its attribute `reason`. Left at its default, observed_data is
                missing where a run was saved without its interactions, or they are on disk.
            seed: decides the draws and the sample of rows.

        Warns:
            DataWarning: log_likelihood is asked for, and leave-one-out does not hold.

        Raises:
            ConfigError: a group is unknown, or the draws would take more than 2 GiB.
            IncompatibleError: rows have no likelihood of their own.
            DataError: items are unseen, or the run was saved without its interactions.
        """
        # only the default itself, and no tuple like it, leaves out what a run does not hold
        there = [group for group in groups if group != "observed_data" or (self.events and not self.events.stored)]
        return container(
            self, draws=draws, items=items, rows=rows, groups=there if groups is GROUPS else groups, seed=seed
        )

    def check(self, seed: int = 0) -> Check:
        """Return posterior predictive checks, and whether they pass.

        Args:
            seed: decides every draw.

        Raises:
            DataError: the fit has no interactions, or a column of theirs that it needs was not saved.
        """
        found = check(self, seed=seed)
        self.__dict__["_last_check"] = found
        return found

    @property
    def last_check(self) -> Check | None:
        """What `check` has returned last, for the eyes only: nothing is decided by it, and `check` runs anew. None before."""
        return self.__dict__.get("_last_check")

    @property
    def card(self) -> str:
        """The card of the fit in Markdown, which says what its intervals include; a run folder holds it as `card.md`."""
        return card(self)

    def report(
        self, path: str | Path, titles: Any = None, test: Interactions | Table | None = None, candidates: str = "all"
    ) -> None:
        """Write a report to look at: one HTML file that holds all it shows and runs nothing.

        Args:
            path: the file.
            titles: item to title: a mapping, a table with columns item and title, or its file.
            test: rows that were not trained on; with them the report shows `evaluate` and `trade_off`.
            candidates: as in `evaluate`.

        Raises:
            DataError: titles or the test cannot be used.
            ConfigError: candidates is not one of the choices.
            RunFolderError: the file cannot be written.

        Warns:
            DataWarning: some rows of the test were trained on.
        """
        from pyro_popbias.report.html import write_report  # matplotlib takes a while to import

        rows = None if test is None else rows_like(test, self.study)
        write_report(self, path, titles=titles, test=rows, candidates=candidates)

    @property
    def plot(self) -> FitPictures:
        """Pictures of the fit, such as `fit.plot.popularity()`; Matplotlib is imported when the first is drawn."""
        return FitPictures(self, self.recommend)

    def save(self, path: str | Path) -> None:
        """Write the fit to a new folder; see `pb.load`.

        Raises:
            RunFolderError: the folder exists and is not empty, or cannot be written.
        """
        save(self, Path(path))


def fit(
    events: Interactions | Table,
    *,
    study: Study | None = None,
    model: str | type[PopularityModel] | None = None,
    guide: str | type[PopularityGuide] | None = None,
    seed: int | EllipsisType | None = ...,
    restarts: int = 1,
    jobs: int | None = None,
    progress: bool = True,
    user: str | None = None,
    item: str | None = None,
    label: str | EllipsisType | None = ...,
    positive_if: str | None = None,
    time: str | None = None,
    periods: int | None = None,
    period_by: PeriodBy | None = None,
    user_features: pd.DataFrame | None = None,
    item_features: pd.DataFrame | None = None,
) -> Fit:
    """Train a study, or named model and guide with the study's other defaults, on interactions or a table of them.

    A table with the columns user, item and label needs no more than `pb.fit(frame)`.

    Args:
        events: a DataFrame of pandas or polars, an Arrow table, or `Interactions`, which have been read already.
        study: the study; the defaults if omitted.
        model: name or registered class of a model, in place of the study's.
        guide: name or registered class of a guide, in place of the study's.
        seed: in place of the study's; None draws one and records it.
        restarts: number of independent fits, which share the rows held out and differ in starts, batches and draws. The
            one returned is the best by its held-out log-score, or by its objective where no rows are held out; the
            others are chains of `to_arviz`. The first has the study's seed.
        jobs: how many restarts are fitted at once, each by a process with one thread: the result is the same for any number.
            None fits one after another with all threads of this process, whose sums may be rounded differently.
        progress: whether to show a bar, in a notebook or on a terminal.
        user: column of user ids in the table; if left out, that of the study, or "user". The same goes for `item`.
        item: column of item ids.
        label: column of labels; None where every row is a positive. If left out, that of the study, or "label".
        positive_if: a comparison with a number, such as ">=4", that makes labels of ratings.
        time: column of times: numbers, or dates.
        periods: number of slices of time; more than 1 needs `time`.
        period_by: "time" cuts slices of equal length, "count" slices of equally many rows.
        user_features: side features, a frame indexed by user id.
        item_features: side features of items, a frame indexed by item id.

    Raises:
        DataError: a column is missing, the table cannot be used as it is, the data hold one class only, or lack what the
            study needs.
        ConfigError: the study cannot be carried out here.
        NumericalError: the optimisation met values that are not finite.
        WorkerError: a process that fitted a restart ended without a result.
    """
    study = with_names(study or Study(), model=model, guide=guide)
    if seed is not ...:
        study = study.with_seed(seed)
    events, study = interactions_for(
        events,
        study,
        user=user,
        item=item,
        label=label,
        positive_if=positive_if,
        time=time,
        periods=periods,
        period_by=period_by,
        user_features=user_features,
        item_features=item_features,
    )
    return fit_study(events, study, restarts=restarts, jobs=jobs, progress=progress)


def fit_study(events: Interactions, study: Study, **options: Any) -> Fit:
    """Train a study; the options are those of `storage.trainings.train_study`."""
    return fit_of(train_study(events, study, **options))


def fit_of(trained: Trained) -> Fit:
    """Return a trained pair as what a user holds."""
    return Fit(**{each.name: getattr(trained, each.name) for each in fields(trained)})


def load(path: str | Path) -> Fit:
    """Return the fit of a run folder; its predictions equal those of the fit that was saved, bit for bit.

    Raises:
        RunFolderError: there is no such folder, or it holds no finished run.
        CorruptCheckpointError: a file is not what was written.
        UnsafeFileError: a file is not of the kind that is written: a link, a pipe, or one that would fill the memory.
        SchemaVersionError: the folder was written by an incompatible version.
    """
    return fit_of(read_run(path))
