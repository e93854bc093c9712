"""Scores of pairs and each user's top items, on codes: what `predict_pairs` and `recommend_items` put ids on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import cast

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.stored_pairs import pairs_of
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import AffinityDistribution, PopularityModel
from pyro_popbias.models.affinities.latents import Weights
from pyro_popbias.models.priors.prior import SharedPrior
from pyro_popbias.prediction.best_expectations import expected
from pyro_popbias.prediction.calibrated_probability import conditional, marginal
from pyro_popbias.prediction.calibrated_ranking import OfTable, OfUsers, own_scores, shifted, with_weight
from pyro_popbias.prediction.calibration import Calibration
from pyro_popbias.prediction.conforming_scores import ConformingScores
from pyro_popbias.prediction.do_value import DoValue
from pyro_popbias.prediction.forecast import Forecast, forecast_values, walk_of
from pyro_popbias.prediction.intervention import Popularity, Scores, scores, scores_at
from pyro_popbias.prediction.list_probability import list_probability
from pyro_popbias.prediction.ranking import NOTHING, Ranking, in_batches
from pyro_popbias.prediction.tabulated import USER_NODES, Tabulated


@dataclass(frozen=True)
class Scorer:
    """P(c=1 | do(u,i)) of a trained pair, under one distribution or given values of popularity.

    Attributes:
        model: the trained model.
        guide: the trained guide.
        catalogue: ids and counts.
        popularity: what to integrate over.
        interval: probability between the two ends of a score, and between those of popularity.
        calibration: what takes the scores of pairs and lists of users from among sampled negatives to the catalogue; None
            leaves them.
        without: codes of items that no list holds; None leaves none out.
    """

    model: PopularityModel
    guide: JointGuide
    catalogue: Catalogue
    popularity: Popularity
    interval: float
    calibration: Calibration | None = None
    without: np.ndarray | None = None

    def tensor(self, codes: np.ndarray) -> Tensor:
        """Return codes as a tensor on the model's device."""
        return torch.from_numpy(np.asarray(codes, dtype=np.int64)).to(self.guide.device)

    def given(self, items: "pd.Index[str]") -> Tensor | None:
        """Return the given popularity of items, `(n,)`; None where popularity has a distribution.

        Raises:
            DataError: items have no value.
            ConfigError: a forecast is asked for, and there is one period.
        """
        if isinstance(self.popularity, Forecast):
            return forecast_values(self.popularity, self.model, self.guide, self.catalogue, items)
        if not isinstance(self.popularity, DoValue):
            return None
        return torch.from_numpy(self.popularity.of(items)).to(self.guide.device)

    def scores_with_interval(
        self,
        affinity: AffinityDistribution,
        user: Tensor,
        item: Tensor,
        *,
        given: Tensor | None = None,
        period: Tensor | None = None,
    ) -> Scores:
        """Return the scores of pairs, `(B,)`, whose intervals have the residual variance, and what intercept and qualities move.

        Under "posterior" and "forecast" they leave the last two out: popularity then moves against them, and P hardly does.
        Where vectors are point estimates there is no interval.

        Args:
            affinity: `(B,)` distribution of logits.
            user: `(B,)` codes; -1 is an unseen user.
            item: `(B,)` codes; -1 is an unseen item.
            given: as in `scores`.
            period: as in `scores`.
        """
        affinity = self._calibrated(affinity, user)
        found = self.scores(affinity, item, given=given, period=period)
        if not self.model.affinity.is_bayesian:
            return replace(found, score_lower=None, score_upper=None, score_sd=None)
        moved = affinity
        if self.popularity not in ("posterior", "forecast"):
            moved = self.guide.quality.widened(self.guide.intercept.widened(affinity, user, item), item)
        of_all = self.guide.with_residual(moved)
        if of_all is affinity:
            return found
        wide = self.scores(of_all, item, given=given, period=period)
        return replace(found, score_lower=wide.score_lower, score_upper=wide.score_upper, score_sd=wide.score_sd)

    @property
    def _weighs_inside(self) -> bool:
        """Whether scores are calibrated by a w within their integrals, and not by a move of x."""
        return self.calibration is not None and not self.model.has_logit_link and self.popularity != "none"

    def _calibrated(self, affinity: AffinityDistribution, user: Tensor) -> AffinityDistribution:
        """Return affinities `(U, ...)` of users `(U,)` whose probabilities are calibrated, where scores are."""
        if self.calibration is None:
            return affinity
        return self.calibration.added(affinity, user, inside=self._weighs_inside)

    def scores(
        self, affinity: AffinityDistribution, item: Tensor, *, given: Tensor | None = None, period: Tensor | None = None
    ) -> Scores:
        """Return the scores of affinities, `(...)`, of items `(...)`, at the estimate of the intercept.

        Under "prior" and "posterior", unseen items have the population distribution, and cells without rows their prior.

        Args:
            affinity: distribution of logits.
            item: codes; -1 is an unseen item.
            given: what `given` returns for these items.
            period: period of each item; by default the last one with rows.
        """
        with torch.no_grad():
            if given is not None:
                return scores_at(self.model, affinity, given, interval=self.interval)
            if self.popularity == "none":
                return self._under(affinity, None)
            if self.popularity == "population":
                return self._under(affinity, self.model.prior.population())
            # pairs of a cell share its distribution; a table of users has each item once
            cell, cell_index = self._cell(item, period), None
            if affinity.mean.dim() == 1:
                cell, cell_index = cell.unique(return_inverse=True)
            found, *others = (
                (rows, self._under(affinity, distribution, index))
                for rows, distribution, index in self._of_cells(item, cell, cell_index)
            )
            return reduce(lambda own, other: own.where(*other), others, found[1])

    def log_probability(
        self, affinity: AffinityDistribution, item: Tensor, label: Tensor, *, period: Tensor | None = None
    ) -> Tensor:
        """Return log P of labels, `(B,)` in nats, under the distribution that each item has under "prior" or "posterior".

        Args:
            affinity: `(B,)` distribution of logits.
            item: `(B,)` codes; -1 is an unseen item.
            label: `(B,)` 0 or 1.
            period: `(B,)` period of each item; by default the last one with rows.
        """
        with torch.no_grad():
            cell, cell_index = self._cell(item, period).unique(return_inverse=True)
            found, *others = (
                (rows, self.model.log_probability(label, affinity, distribution, cast(Tensor, index)))
                for rows, distribution, index in self._of_cells(item, cell, cell_index)
            )
            return reduce(lambda own, other: torch.where(other[0], other[1], own), others, found[1])

    def _of_cells(
        self, item: Tensor, cell: Tensor, cell_index: Tensor | None
    ) -> Iterator[tuple[Tensor, Distribution, Tensor | None]]:
        """Yield, for all items and then for those without a q or a prior of their own, which they are and their distribution."""
        prior, everywhere = self.model.prior.distribution(cell), torch.ones_like(item, dtype=torch.bool)
        if self.popularity == "prior":
            yield everywhere, prior, cell_index
        else:
            posterior, walk = self.guide.popularity.posterior(cell), self.model.prior
            if self.popularity == "forecast":
                prior, posterior = (walk_of(self.model).after(each, 1) for each in (prior, posterior))
            yield everywhere, posterior, cell_index
            unknown = self.catalogue.without_rows(by_item=walk.joins_periods)
            silent = self.tensor(unknown).index_select(0, cell) > 0
            silent = silent if cell_index is None else silent[cell_index]
            if silent.any():
                yield silent, prior, cell_index
        unseen = item < 0
        if unseen.any():
            yield unseen, self.model.prior.population().expand((1,)), torch.zeros_like(item)

    def _under(
        self, affinity: AffinityDistribution, distribution: Distribution | None, cell_index: Tensor | None = None
    ) -> Scores:
        """Return the scores under one distribution of z, or one per cell; None is the affinity alone."""
        return scores(self.model, affinity, distribution, interval=self.interval, cell_index=cell_index)

    def _cell(self, item: Tensor, period: Tensor | None) -> Tensor:
        """Return the cell of each item in its period, by default in the last one with rows."""
        known, periods = item.clamp(min=0), self.catalogue.periods
        if self.popularity == "forecast":
            return known * periods + periods - 1
        if period is not None:
            return known * periods + period
        count = self.catalogue.count.reshape(-1, periods)
        last = periods - 1 - np.argmax(count[:, ::-1] > 0, axis=1)
        return self.tensor(np.arange(len(count)) * periods + last).index_select(0, known)

    def mean_scores(self, affinity: AffinityDistribution, item: Tensor, *, given: Tensor | None = None) -> Tensor:
        """Return `scores(...).score` without the rest of it."""
        model = self.model
        if given is not None:
            affinity = affinity if affinity.conformity is None else affinity.given(model.logit_term(given))
            return expected(affinity, conditional(model, affinity, given))
        if self.popularity == "none":
            return expected(affinity, model.affinity_score)

        def under(distribution: Distribution) -> Tensor:
            if affinity.conformity is not None:
                return model.mean_probability(affinity, distribution)
            return expected(affinity, marginal(model, affinity, distribution))

        if self._shares_popularity and affinity.conformity is not None:
            return ConformingScores(model, self.popularity).of_table(affinity)
        found, *others = ((rows, under(distribution)) for rows, distribution in self._of_all(item))
        return reduce(lambda own, other: torch.where(other[0], other[1], own), others, found[1])

    def _of_all(self, item: Tensor) -> Iterator[tuple[Tensor, Distribution]]:
        """Yield the distributions of z of items `(K,)`, each once, and which items they are for; the later ones replace."""
        if self._shares_popularity:
            yield torch.ones_like(item, dtype=torch.bool), self.model.prior.population()
            return
        for rows, distribution, _ in self._of_cells(item, self._cell(item, None), None):
            yield rows, distribution

    @property
    def _shares_popularity(self) -> bool:
        """Whether all items have the population distribution."""
        shared = isinstance(self.model.prior, SharedPrior)
        return self.popularity == "population" or (self.popularity == "prior" and shared)

    def shared_probability(self) -> Callable[[Tensor], Tensor] | None:
        """Return what takes affinities to scores where it is the same for all items, an increasing function; else None."""
        model, popularity = self.model, self.popularity
        if isinstance(popularity, DoValue) and isinstance(popularity.value, float):
            z = torch.tensor(popularity.value, dtype=torch.float64, device=self.guide.device)
            return lambda x: model.conditional_probability(x, z)
        if popularity == "none":
            return model.affinity_score
        if self._shares_popularity:
            population = model.prior.population()
            exact = partial(model.marginal_probability, distribution=population)
            closed = model.integrates_in_closed_form(type(population))
            return exact if closed else Tabulated(exact, population.mean)
        return None

    @torch.no_grad()
    def ranking(self) -> Ranking:
        """Return what orders all items of users.

        Raises:
            DataError: popularity is a mapping and lacks items.
        """
        item, given = self.tensor(np.arange(len(self.catalogue.items))), self.given(self.catalogue.items)
        probability = self.shared_probability()
        differ = self.model.conformity is not None and self.popularity != "none"
        own: OfTable = partial(self.mean_scores, item=item, given=given)
        if self._weighs_inside and given is None:
            own = own_scores(self.model, self._of_all(item), self.model.prior.population().mean)
        return Ranking(
            self.model.affinity,
            self.guide.weights(),
            probability,
            own,
            items=len(item),
            device=item.device,
            by_user=None if probability is None else self._by_user(probability, differ=differ, items=len(item)),
            of_users=partial(self._with_users, differ=differ) if differ or self.calibration is not None else None,
            without=None if self.without is None else self.tensor(self.without),
        )

    def _with_users(
        self, affinity: AffinityDistribution, user: Tensor, weights: Weights, *, differ: bool
    ) -> AffinityDistribution:
        """Return affinities `(U, ...)` of users `(U,)` with conformity, where users differ in it, and calibrated."""
        return self._calibrated(self.model.conforming(affinity, user, weights) if differ else affinity, user)

    def _by_user(self, probability: Callable[[Tensor], Tensor], *, differ: bool, items: int) -> OfUsers | None:
        """Return scores as functions of x by user, where users differ in them under one popularity for all items; else None."""
        if differ and items <= USER_NODES:
            return None
        weights = self.guide.weights()
        conforming = partial(ConformingScores(self.model, self.popularity).by_user, weights=weights) if differ else None
        if self.calibration is None:
            return conforming
        log_w = self.calibration.log_weight
        if not self._weighs_inside:
            return shifted(conforming or (lambda _user: lambda _row, x: probability(x)), log_w)
        given = probability if isinstance(self.popularity, DoValue) else None
        return with_weight(self.model, given, log_w)

    def ranking_scores(self) -> Callable[[np.ndarray], Tensor]:
        """Return what ranks all items: from user codes `(U,)` to numbers `(U, K)` in the order of the scores."""
        ranking = self.ranking()

        def of(users: np.ndarray) -> Tensor:
            with torch.no_grad():
                return ranking.scores(self.tensor(users))

        return of

    def top(
        self, users: np.ndarray, k: int, seen: sparse.csr_array | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray, Scores]]:
        """Yield, batch after batch of users, user codes, item codes and scores, best first.

        Args:
            users: codes.
            k: items per user; a user who has seen all but a few gets fewer.
            seen: `(users, items)` what to leave out, as of `seen_items`.
        """
        weights, given = self.guide.weights(), self.given(self.catalogue.items)
        for block, column in in_batches(self.ranking().lists(users, k, seen)):
            with torch.no_grad():
                row, place = (column != NOTHING).nonzero().unbind(1)
                item, user = column[row, place], self.tensor(block)[row]
                affinity = self.model.pairs(user, item, None, weights)
                z = None if given is None else given.index_select(0, item)
                found = self.scores_with_interval(affinity, user, item, given=z)
            # products of matrices and of pairs round differently: what is shown is in order
            order = np.lexsort((item.cpu().numpy(), -found.score.cpu().numpy(), row.cpu().numpy()))
            yield block[row.cpu().numpy()], item.cpu().numpy()[order], found.at(self.tensor(order))

    def list_probability(
        self, users: np.ndarray, listed: np.ndarray, k: int, seen: sparse.csr_array | None, *, seed: int
    ) -> np.ndarray:
        """Return the probability of items to be among a user's k best, `(U, L)`, as `prediction.list_probability` does."""
        guide = self.guide.affinity
        of_users = () if guide is None else guide.sites_of("user")
        return list_probability(self.ranking(), users, listed, k, seen, of_users=of_users, seed=seed)


def seen_items(events: Interactions) -> sparse.csr_array:
    """Return which items each user has a row of, `(users, items)` truth values by codes."""
    shape = len(events.users), len(events.items)
    if events.stored is not None:
        return pairs_of(events.stored, shape)
    return sparse.csr_array((np.ones(len(events), dtype=bool), (events.user, events.item)), shape=shape)
