"""Replicated labels of a fit, streamed: a replicate is drawn, its statistics are kept, and it is gone.

| check | popularity z | affinities | parameters | asks |
| --- | --- | --- | --- | --- |
| items | q of each cell | the fit's, Bayesian weights from q | the fit's | does the fit follow its items? |
| population | the population distribution | the fit's, Bayesian weights from q | the fit's | does that distribution fit? |
| prior | the prior | from their prior, but for given ones | from their prior | what did the prior expect? |

A popularity of a row's own (`latent = "interaction"`) has no q that a replicate could use: it comes from the prior in
`items` too. CellStatistics are drawn one by one, from the marginals of a whole guide. Kept are N affinities, where
these are points, and the statistics of every replicate; a replicate itself needs the memory of a block of rows, the
items and the users.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from pyro_popbias.checks.prior_draws import prior_weights, redraw
from pyro_popbias.checks.replicated_data import ReplicatedData
from pyro_popbias.checks.statistics import Statistics
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import PopularityModel
from pyro_popbias.models.affinities.affinity import Weights
from pyro_popbias.progress import counted

REPLICATES = 200
INTERVAL = 0.9  # of replicates, between lower and upper


@dataclass(frozen=True)
class ReplicateSource:
    """What a replicate is drawn from.

    Attributes:
        model: with the replicate's parameters.
        distribution: from cells to their distributions of z.
        weights: draws of the affinity's sites, as distributions without spread; empty where there are none.
        affinity: `(N,)` x_ui of every row; None where it differs from replicate to replicate.
    """

    model: PopularityModel
    distribution: Callable[[Tensor], Distribution]
    weights: Weights
    affinity: Tensor | None = None

    def affinity_of(self, rows: ReplicatedData, block: slice) -> Tensor:
        """Return x_ui of a block of rows, `(B,)`."""
        if self.affinity is not None:
            return self.affinity[block]
        codes = rows.user[block], rows.item[block]
        return self.model.affinity.pairs(*codes, rows.score_of(block), self.weights).mean


@dataclass(frozen=True)
class Predictive:
    """Predictive checks of a trained pair on its rows.

    Attributes:
        model: the trained model.
        guide: the trained guide.
        rows: what is replicated.
        per_row: whether every row has a popularity of its own.
        seed: decides all draws.
        replicates: R.
    """

    model: PopularityModel
    guide: JointGuide
    rows: ReplicatedData
    per_row: bool
    seed: int = 0
    replicates: int = REPLICATES

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return a table a check, one row a statistic.

        Its columns: check, statistic, stratum, observed; mean, sd, least, most and the ends lower and upper of 90 % of
        the replicates; p_value, the two-sided mid-p value of observed among the replicates.
        """
        with torch.no_grad(), torch.random.fork_rng(self._devices()):
            statistics = self._statistics()
            observed = statistics.of(statistics.count([(slice(None), self.rows.label > 0)]))
            makers: Mapping[str, Callable[[], Iterator[ReplicateSource]]] = {
                "items": lambda: self._fitted(self._distribution_of_items),
                "population": lambda: self._fitted(lambda cell: self.model.prior.population().expand(cell.shape)),
                "prior": self._prior,
            }
            return {
                check: summary(check, statistics.names, observed, self._replicate(check, worlds(), statistics, number))
                for number, (check, worlds) in enumerate(makers.items())
            }

    def _devices(self) -> list[int]:
        return [torch.cuda.current_device()] if self.guide.device.type == "cuda" else []

    def _distribution_of_items(self, cell: Tensor) -> Distribution:
        return self.model.prior.distribution(cell) if self.per_row else self.guide.popularity.posterior(cell)

    @torch.no_grad()
    def probability(self) -> np.ndarray:
        """Return the probability of scored rows `(N,)`, with x and z integrated out; one half elsewhere."""
        rows, weights, distribution = self.rows, self.guide.weights(), self._distribution_of_items(self.rows.cell)
        probability = np.full(len(rows), 0.5)  # of no consequence where rows are not scored
        for block in rows.blocks():
            position = np.flatnonzero(rows.scored[block]) + block.start
            row = torch.from_numpy(position).to(rows.user.device)
            score = None if rows.score is None else rows.score.index_select(0, row)
            affinity = self.model.affinity.pairs(rows.user[row], rows.item[row], score, weights)
            found, _ = affinity.expect(
                partial(self.model.marginal_probability, distribution=distribution, cell_index=rows.cell_index[row])
            )
            probability[position] = found.cpu().numpy()
        return probability

    def _statistics(self) -> Statistics:
        rows = self.rows
        user = None if rows.negatives else rows.user.cpu().numpy()
        return Statistics(rows.cell_index.cpu().numpy(), user, scored=rows.scored, probability=self.probability())

    def _fitted(self, distribution: Callable[[Tensor], Distribution]) -> Iterator[ReplicateSource]:
        """Yield the fit's own worlds, with popularity from a distribution."""
        weights = self.guide.weights()
        if weights:
            while True:
                yield ReplicateSource(self.model, distribution, drawn(weights))
        world = ReplicateSource(self.model, distribution, {})
        affinity = torch.cat([world.affinity_of(self.rows, block) for block in self.rows.blocks()])
        while True:
            yield ReplicateSource(self.model, distribution, {}, affinity)

    def _prior(self) -> Iterator[ReplicateSource]:
        """Yield worlds whose parameters are draws of their priors."""
        model, weights = copy.deepcopy(self.model), self.guide.weights()
        while True:
            redraw(model)
            yield ReplicateSource(model, model.prior.distribution, drawn(prior_weights(model.affinity, weights)))

    def _replicate(
        self, check: str, worlds: Iterator[ReplicateSource], statistics: Statistics, number: int
    ) -> np.ndarray:
        """Return the statistics of every replicate, `(R, S)`."""
        found = np.empty((self.replicates, len(statistics.names)))
        for replicate in counted(self.replicates, f"check: {check}, replicates"):
            seed = np.random.SeedSequence((self.seed, number, replicate)).generate_state(1, np.uint64)[0]
            torch.manual_seed(int(seed >> np.uint64(1)))
            found[replicate] = statistics.of(statistics.count(self._labels(next(worlds))))
        return found

    def _labels(self, world: ReplicateSource) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the labels of a replicate, block after block of rows, as truth values `(B,)`."""
        rows = self.rows
        popularity = None if self.per_row else world.distribution(rows.cell).sample()
        for block in rows.blocks():
            cell_index = rows.cell_index[block]
            z = (
                world.distribution(rows.cell.index_select(0, cell_index)).sample()
                if popularity is None
                else popularity.index_select(0, cell_index)
            )
            probability = world.model.conditional_probability(world.affinity_of(rows, block), z)
            yield block, (torch.rand_like(probability) < probability).cpu().numpy()


def drawn(weights: Weights) -> dict[str, Normal]:
    """Return a draw of each site of an affinity, as a distribution without spread."""
    draws = {site: distribution.sample() for site, distribution in weights.items()}
    return {site: Normal(draw, torch.zeros_like(draw), validate_args=False) for site, draw in draws.items()}


def summary(check: str, names: list[tuple[str, str]], observed: np.ndarray, replicates: np.ndarray) -> pd.DataFrame:
    """Return one row a statistic: where its observed value stands among its replicates.

    Args:
        check: name of the check.
        names: statistic and stratum of each.
        observed: `(S,)`.
        replicates: `(R, S)`.
    """
    tail = (1 - INTERVAL) / 2
    below = (replicates < observed).mean(0) + 0.5 * (replicates == observed).mean(0)
    columns: dict[str, Any] = {
        "observed": observed,
        "mean": replicates.mean(0),
        "sd": replicates.std(0),
        "lower": np.quantile(replicates, tail, axis=0),
        "upper": np.quantile(replicates, 1 - tail, axis=0),
        "least": replicates.min(0),
        "most": replicates.max(0),
        "p_value": 2 * np.minimum(below, 1 - below),
    }
    statistic, stratum = zip(*names, strict=True)
    return pd.DataFrame({"check": check, "statistic": statistic, "stratum": stratum, **columns})
