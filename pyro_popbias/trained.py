"""A trained pair with all that it was trained on: what checks, containers for ArviZ, run folders and reports read.

`Fit` derives from it and adds what a user calls; nothing below imports `Fit`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from pyro_popbias.assembly.tables import rows_like
from pyro_popbias.assembly.training_data import given_score
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.frames import Table
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import DataError
from pyro_popbias.evaluation.evaluate import Evaluation, evaluate
from pyro_popbias.evaluation.trade_off import ACCURACY, BIAS, SHARES, TradeOff, judge_trade_off
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import PopularityModel
from pyro_popbias.models.priors.config import POSTERIOR
from pyro_popbias.prediction.calibration import Calibration
from pyro_popbias.prediction.forecast import forecast_table, walk_of
from pyro_popbias.prediction.intervention import read_popularity
from pyro_popbias.prediction.item_table import items_table
from pyro_popbias.prediction.parameter_table import parameter_table
from pyro_popbias.prediction.partial_popularity import PartialPopularity
from pyro_popbias.prediction.posterior_tables import check_interval, popularity_table, users_table
from pyro_popbias.prediction.scorer import Scorer
from pyro_popbias.prediction.similar_items import similar_items
from pyro_popbias.study.study import Study
from pyro_popbias.training.iterates import Iterates
from pyro_popbias.training.restarts import Chain
from pyro_popbias.validation import require_integer


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained pair.

    Attributes:
        study: what was declared.
        catalogue: ids and counts.
        model: the trained model.
        guide: the trained guide.
        iterates: moments of the path that q of popularity took in phase two.
        history: one row per epoch, in nats and seconds.
        events: the interactions; None where a run was saved without them.
        others: the pairs of the other restarts.
        earlier: rows of the fits that this one goes on from, users and items by its codes; None where it goes on from none.
        absent: why a run was opened without its interactions, where it was not saved without them.
    """

    study: Study
    catalogue: Catalogue
    model: PopularityModel
    guide: JointGuide
    iterates: Iterates
    history: pd.DataFrame
    events: Interactions | None
    others: tuple[Chain, ...] = ()
    earlier: Interactions | None = None
    absent: str = ""

    @property
    def known(self) -> Interactions | None:
        """All rows that this fit or an earlier one was trained on, users and items; None where they were not saved."""
        goes_on = self.study.model.prior.source == POSTERIOR
        if self.events is None or self.earlier is None:
            return None if goes_on else self.events
        both = self.earlier, self.events
        user, item = (np.concatenate([getattr(each, side) for each in both]) for side in ("user", "item"))
        return Interactions(self.catalogue.users, self.catalogue.items, user, item)

    @property
    def unsaved(self) -> str:
        """Which run lacks its rows where `known` does, and why, for messages."""
        if self.absent:
            return f"the run was opened without its interactions ({self.absent})"
        which = "the run" if self.events is None else "a run that this one goes on from"
        return f"{which} was saved without its interactions (--no-data)"

    @property
    def chains(self) -> tuple[Chain, ...]:
        """The pairs of all restarts, the best first."""
        return Chain(self.model, self.guide, self.iterates), *self.others

    def scorer(self, popularity: object, interval: float = 0.9, *, calibrated: bool = False) -> Scorer:
        """Return what scores pairs and users under a popularity mode, on codes.

        Args:
            popularity: as in `Fit.predict`.
            interval: probability between the ends of scores.
            calibrated: as in `Fit.predict`.

        Raises:
            ConfigError: there is nothing to calibrate.
            DataError: positives of users were not counted.
        """
        asked = read_popularity(popularity, self.model.latents["popularity"].support)
        if asked == "forecast":
            walk_of(self.model)
        plain = Scorer(self.model, self.guide, self.catalogue, asked, check_interval(interval))
        if not calibrated:
            return plain
        found = Calibration.of(self.model, self.catalogue, self.study.data.negatives or 0, device=self.guide.device)
        return replace(plain, calibration=found)

    def judge(
        self,
        test: Interactions | Table,
        k: int | Sequence[int] = (20,),
        popularity: object = "population",
        candidates: str = "all",
    ) -> Evaluation:
        """Return the evaluation behind `Fit.evaluate`, whose metrics can be paired with those of another fit.

        Args:
            test: as in `evaluate`.
            k: length of lists, or several.
            popularity: as in `Fit.predict`.
            candidates: "all" or "test", as in `Fit.evaluate`.

        Raises:
            DataError: the test cannot be judged, or the run was saved without its interactions.
        """
        test = rows_like(test, self.study)
        train, score = self._known_rows(test)
        return evaluate(self.scorer(popularity), test, k=k, candidates=candidates, train=train, score=score)

    def judge_trade_off(
        self,
        test: Interactions | Table,
        *,
        shares: Sequence[float] = SHARES,
        accuracy: str = ACCURACY,
        bias: str = BIAS,
        candidates: str = "all",
    ) -> TradeOff:
        """Return the evaluations behind `trade_off`, by popularity; the arguments are the same.

        Raises:
            DataError: the test cannot be judged, or the run was saved without its interactions.
            ConfigError: an argument is out of its range.
        """
        test = rows_like(test, self.study)
        train, score = self._known_rows(test)
        return judge_trade_off(
            self.scorer("none"),
            test,
            train=train,
            candidates=candidates,
            shares=shares,
            accuracy=accuracy,
            bias=bias,
            score=score,
        )

    def _known_rows(self, test: Interactions) -> tuple[Interactions, np.ndarray | None]:
        """Return the rows trained on, and the affinities of a test's rows where the study has a score column.

        Raises:
            DataError: the run was saved without its interactions.
        """
        if (known := self.known) is None:
            raise DataError(
                f"PB-D106: {self.unsaved}, so it is not known which rows were trained on; "
                f"{'bring the log back' if self.absent else 'fit again with them'}"
            )
        return known, given_score(test.columns, self.study)

    def evaluate(
        self,
        test: Interactions | Table,
        k: int | Sequence[int] = (20,),
        popularity: str | float | Mapping[Any, float] = "population",
        candidates: str = "all",
        *,
        interval: float = 0.9,
    ) -> pd.DataFrame:
        """Return how good the fit ranks a test, how far its lists lean towards popular items, and how right its scores are.

        A row is relevant where its label is 1, or where there are no labels. Users without a relevant row are left out;
        `attrs["notes"]` counts what was.

        Args:
            test: rows that were not trained on; a table is read by the keys of the study's [data], which a fit of a table has.
            k: length of lists, or several.
            popularity: as in `predict`.
            candidates: "all" ranks the catalogue, without what a user has a training row of; "test" ranks only the user's
                test rows.
            interval: probability between lower and upper.

        Returns:
            metric, value, lower, upper: `hit@20`, `recall@20`, ... as `pyro_popbias.evaluation` lists them; the interval is
            a bootstrap over users. Where the test has both classes also `auc` and `user_auc`, and where scores are
            probabilities `log_loss` in nats per row, `brier` and `calibration_error`.

        Raises:
            DataError: the test was trained on for the most part, has no row that can be judged, or the run was saved
                without its interactions.
            UnknownNameError: there is no such mode of popularity.
            ConfigError: an argument is out of its range.

        Warns:
            DataWarning: some rows of the test were trained on.
        """
        return self.judge(test, k=k, popularity=popularity, candidates=candidates).table(check_interval(interval))

    def trade_off(
        self,
        test: Interactions | Table,
        *,
        shares: Sequence[float] = SHARES,
        accuracy: str = ACCURACY,
        bias: str = BIAS,
        candidates: str = "all",
        interval: float = 0.9,
    ) -> pd.DataFrame:
        """Return accuracy and popularity bias on a test under each popularity mode, and along a knob between two of them.

        `pyro_popbias.report.trade_off_plot` draws the table.

        Args:
            test: as in `Fit.evaluate`.
            shares: positions of the knob, as in `partial_popularity`.
            accuracy: name of a metric of `Fit.evaluate`; its length of lists may be any.
            bias: likewise.
            candidates: as in `Fit.evaluate`.
            interval: probability between lower and upper.

        Returns:
            popularity (a mode, or "share" for the knob), share (NaN for modes), the two metrics and, as `_difference`, their
            differences from "none"; each with `_lower` and `_upper` of a bootstrap over users that is paired.

        Raises:
            DataError: as in `Fit.evaluate`.
            ConfigError: there is no such metric, or an argument is out of its range.

        Warns:
            DataWarning: some rows of the test were trained on.
        """
        found = self.judge_trade_off(test, shares=shares, accuracy=accuracy, bias=bias, candidates=candidates)
        return found.table(check_interval(interval))

    def partial_popularity(self, share: float) -> dict[str, float]:
        """Return a popularity for each item, between the population's and the item's own, to pass as `popularity=`.

        Args:
            share: 0 gives all items the popularity of the population, which ranks as "population" does, and 1 each item its
                own, which ranks as "posterior" does (`additive` and `inverse-logistic`: nearly). In between popularity is
                their weighted mean, of logarithms except in `additive`. Below 0 popular items are held back, above 1 they
                are pushed further.

        Raises:
            ConfigError: the share is not a finite number.
        """
        values = PartialPopularity.of(self.scorer("none")).at(share).of(self.catalogue.items)
        return dict(zip(self.catalogue.items, values.tolist(), strict=True))

    def popularity(self, interval: float = 0.9) -> pd.DataFrame:
        """Return the popularity posteriors, one row per cell; the report says what their intervals include.

        Args:
            interval: probability between lower and upper.
        """
        return popularity_table(self.model, self.guide, self.catalogue, interval=interval)

    def forecast(self, periods: int = 1, interval: float = 0.9) -> pd.DataFrame:
        """Return what the random walk says of each item's popularity in the periods after the last, one row per item and period.

        Args:
            periods: how many periods ahead, at least 1: the further, the wider the interval.
            interval: probability between lower and upper.

        Returns:
            item, period (counted on from those of the fit), mean, sd, lower, upper, prior_only (of items without rows).

        Raises:
            ConfigError: the prior is no random walk, or an argument is out of its range.
        """
        number = require_integer("periods", periods, 1)
        return forecast_table(self.model, self.guide, self.catalogue, number, interval=check_interval(interval))

    def users(self, interval: float = 0.9) -> pd.DataFrame:
        """Return the bias of each user, in logits: how much more often than others the user says yes, to any item.

        With `conformity = true` also gamma_u, the slope of popularity in the user's log odds.

        Args:
            interval: probability between lower and upper.

        Returns:
            user, mean, sd, lower, upper, gamma_mean, gamma_sd, gamma_lower, gamma_upper, count, positives; one row per user,
            without the columns of what users do not have in this fit.

        Raises:
            ConfigError: users have neither in this fit.
        """
        return users_table(self.model, self.guide, self.catalogue, interval=interval)

    def items(self, interval: float = 0.9) -> pd.DataFrame:
        """Return the quality of each item beside its popularity, in the last period with rows, as far as data tell them apart.

        Args:
            interval: probability between lower and upper.

        Returns:
            item; quality (b_i in logits: how much more all users like it than its peers, whatever its popularity),
            quality_sd, quality_lower, quality_upper; popularity, popularity_lower, popularity_upper; correlation of
            quality and log popularity in the posterior of this one item; quality_share, the share of its clicks by average
            users that would remain if its popularity were drawn from the population, as in P(c=1 | do(u,i)) (above 1 where
            its own popularity costs it clicks; in `product` quality itself cancels in it), quality_share_lower,
            quality_share_upper, NaN for items without rows; count, positives. One row per item. Over items, quality and
            popularity are correlated as `parameters` says.

        Raises:
            ConfigError: items have no quality in this fit.
        """
        return items_table(self.model, self.guide, self.catalogue, interval=interval)

    def similar(self, item: Any, k: int = 10) -> pd.DataFrame:
        """Return the k items whose vectors are most like an item's: rank, item, similarity, count, positives.

        Args:
            item: an id.
            k: number of items.

        Returns:
            One row per item, the most similar first; similarity is the cosine of posterior means of vectors, -1 to 1: whom items
            appeal to, whatever their popularity and quality.

        Raises:
            ConfigError: the affinity has no vectors of items, or k is not an integer >= 1.
            DataError: the item is unseen.
        """
        return similar_items(self.model, self.guide, self.catalogue, item, require_integer("k", k, 1))

    def parameters(self, interval: float = 0.9) -> pd.DataFrame:
        """Return the learned global parameters: name, mean, sd, lower, upper; the last three NaN where nobody knows them.

        Intercept, slope or rate, concentration and weights of features have their joint posterior's, with all cells free to move
        (`training.global_response`, which says where there is none), scales Laplace's; their mean is the estimate.

        Args:
            interval: probability between lower and upper.
        """
        return parameter_table(self.model, self.guide, self.catalogue, interval=check_interval(interval))
