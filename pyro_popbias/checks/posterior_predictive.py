"""Predictive checks of a fit, streamed: labels are replicated, their statistics kept, and the labels dropped.

| check | popularity z | affinities | parameters | question |
| --- | --- | --- | --- | --- |
| items | q of each cell | the fit's, Bayesian weights from q | the fit's | does the fit follow its items? |
| population | the population distribution | the fit's, Bayesian weights from q | the fit's | does that one fit? |
| prior | the prior | from their prior, unless given | from their prior | what did the prior expect? |

Where the model has an exposure part, `items` and `population` replicate the counts of its cells too (`replicated_counts`).
With `latent = "interaction"` every row has its own popularity and no q that a replicate could use: `items` then draws
it from the prior too. Cells are drawn independently, from the marginals of a guide that is joint over cells. Memory
holds N affinities, where these are points, and the statistics of every replicate; a replicate itself takes a block of
rows, the items and the users.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.checks.replicate_source import ReplicateSource, drawn
from pyro_popbias.checks.replicated_counts import COUNTS, ReplicatedCounts
from pyro_popbias.checks.replicated_data import ReplicatedData
from pyro_popbias.checks.statistics import Statistics
from pyro_popbias.distributions.random_state import borrowed_generators
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import AffinityDistribution, PopularityModel
from pyro_popbias.progress import counted

REPLICATES = 200
INTERVAL = 0.9  # of replicates, between lower and upper


@dataclass(frozen=True)
class Predictive:
    """Predictive checks of a trained pair on its rows.

    Attributes:
        model: the trained model.
        guide: the trained guide.
        rows: the rows whose labels are replicated.
        per_row: whether every row has its own popularity.
        seed: seed of all draws.
        replicates: number of replicates R.
    """

    model: PopularityModel
    guide: JointGuide
    rows: ReplicatedData
    per_row: bool
    seed: int = 0
    replicates: int = REPLICATES

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return one table per check, with one row per statistic.

        Columns: check, statistic, stratum, observed; mean, sd, least, most, and the 5 % and 95 % quantiles lower and
        upper of the replicates; p_value, the two-sided mid-p-value of observed among the replicates.
        """
        with torch.no_grad(), borrowed_generators(self._devices()):
            statistics = self._statistics()
            makers: Mapping[str, Callable[[], Iterator[ReplicateSource]]] = {
                "items": lambda: self._fitted(self._distribution_of_items),
                "population": lambda: self._fitted(lambda cell: self.model.prior.population().expand(cell.shape)),
                "prior": self._prior,
            }
            return {
                check: self._table(check, sources(), statistics, number)
                for number, (check, sources) in enumerate(makers.items())
            }

    def _table(
        self, check: str, sources: Iterator[ReplicateSource], statistics: Statistics, number: int
    ) -> pd.DataFrame:
        """Return where the observed statistics of labels, and of counts where there are any, lie among their replicates."""
        counts = None if check == "prior" else ReplicatedCounts.of(self.model)
        replicates = self._replicate(check, sources, statistics, counts, number)
        names, observed = statistics.names, statistics.of(statistics.count([(slice(None), self.rows.label > 0)]))
        if counts is not None:
            names, observed = [*names, *COUNTS], np.concatenate([observed, counts.observed()])
        return summary(check, names, observed, replicates)

    def _devices(self) -> list[int]:
        return [torch.cuda.current_device()] if self.guide.device.type == "cuda" else []

    def _distribution_of_items(self, cell: Tensor) -> Distribution:
        return self.model.prior.distribution(cell) if self.per_row else self.guide.popularity.posterior(cell)

    def probability(self) -> np.ndarray:
        """Return the probability of scored rows `(N,)`, with x and z integrated out; one half elsewhere."""
        distribution = self._distribution_of_items(self.rows.cell)

        def of(affinity: AffinityDistribution, row: Tensor) -> Tensor:
            cell_index = self.rows.cell_index[row]
            return self.model.mean_probability(affinity, distribution, cell_index)

        return self._of_scored(of, 0.5)

    def log_probability(self, label: np.ndarray) -> np.ndarray:
        """Return log P of labels of scored rows `(N,)` in nats, with x and z integrated out; log one half elsewhere.

        Args:
            label: `(N,)` 0 or 1.
        """
        distribution, labels = self._distribution_of_items(self.rows.cell), torch.from_numpy(label)

        def of(affinity: AffinityDistribution, row: Tensor) -> Tensor:
            given = labels.to(row.device)[row]
            return self.model.log_probability(given, affinity, distribution, self.rows.cell_index[row])

        return self._of_scored(of, math.log(0.5))

    @torch.no_grad()
    def _of_scored(self, of: Callable[[AffinityDistribution, Tensor], Tensor], elsewhere: float) -> np.ndarray:
        """Return a function of the affinities and positions of scored rows, `(N,)`."""
        rows, weights = self.rows, self.guide.weights()
        found = np.full(len(rows), elsewhere)  # unused where rows are not scored
        for block in rows.blocks():
            position = np.flatnonzero(rows.scored[block]) + block.start
            row = torch.from_numpy(position).to(rows.user.device)
            score = None if rows.score is None else rows.score.index_select(0, row)
            affinity = self.model.pairs(rows.user[row], rows.item[row], score, weights)
            found[position] = of(affinity, row).cpu().numpy()
        return found

    def _statistics(self) -> Statistics:
        rows = self.rows
        user = None if rows.negatives else rows.user.cpu().numpy()
        log_probability = np.stack([self.log_probability(np.full(len(rows), label)) for label in (0.0, 1.0)])
        return Statistics(rows.cell_index.cpu().numpy(), user, scored=rows.scored, log_probability=log_probability)

    def _fitted(self, distribution: Callable[[Tensor], Distribution]) -> Iterator[ReplicateSource]:
        """Yield sources with the fit's parameters and popularity from a given distribution."""
        weights = self.guide.weights()
        if weights:
            while True:
                yield ReplicateSource(self.model, distribution, drawn(weights))
        fitted = ReplicateSource(self.model, distribution, {})
        affinity = torch.cat([fitted.affinity_of(self.rows, block) for block in self.rows.blocks()])
        while True:
            yield ReplicateSource(self.model, distribution, {}, affinity)

    def _prior(self) -> Iterator[ReplicateSource]:
        """Yield sources whose parameters are drawn from their priors."""
        model, weights = copy.deepcopy(self.model), self.guide.weights()
        while True:
            model.draw_parameters()
            yield ReplicateSource(model, model.prior.distribution, drawn(model.prior_weights(weights)))

    def _replicate(
        self,
        check: str,
        sources: Iterator[ReplicateSource],
        statistics: Statistics,
        counts: ReplicatedCounts | None,
        number: int,
    ) -> np.ndarray:
        """Return the statistics of every replicate, `(R, S)`: those of labels, and then of counts."""
        found = []
        for replicate in counted(self.replicates, f"check: {check}, replicates"):
            seed = np.random.SeedSequence((self.seed, number, replicate)).generate_state(1, np.uint64)[0]
            torch.manual_seed(int(seed >> np.uint64(1)))
            source = next(sources)
            found.append(statistics.of(statistics.count(self._labels(source))))
            if counts is not None:
                found[-1] = np.append(found[-1], counts.replicate(source.distribution(counts.cell)))
        return np.stack(found)

    def _labels(self, source: ReplicateSource) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the labels of a replicate as blocks of booleans `(B,)`."""
        rows = self.rows
        popularity = None if self.per_row else source.distribution(rows.cell).sample()
        for block in rows.blocks():
            cell_index = rows.cell_index[block]
            z = (
                source.distribution(rows.cell.index_select(0, cell_index)).sample()
                if popularity is None
                else popularity.index_select(0, cell_index)
            )
            probability = source.model.conditional_probability(source.affinity_of(rows, block, z), z)
            yield block, (torch.rand_like(probability) < probability).cpu().numpy()


def summary(check: str, names: list[tuple[str, str]], observed: np.ndarray, replicates: np.ndarray) -> pd.DataFrame:
    """Return one row per statistic: where its observed value lies among its replicates.

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
