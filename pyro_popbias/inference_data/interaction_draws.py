"""Draws per interaction: labels from the likelihood, and log-likelihoods, given draws of popularity.

| tensor | shape | meaning |
| --- | --- | --- |
| popularity | (draw, B) | draw s of a row's cell, the same as draw s of that cell in the group `posterior`, at b0 |
| affinity | (B,) or (draw, B) | x_ui: a point estimate, or draws if it is Bayesian |
| likelihood | (draw, B) | distribution of the labels |

Global weights have the same draws as in the group `posterior`. Bayesian vectors, biases and conformity enter through the
moments of x_ui, so x_ui is drawn independently for each row: correct row by row, not jointly. Point estimates are kept fixed,
b0 among them: in the group `posterior` popularity also moves with b0, and against it, so that P hardly does.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Normal

from pyro_popbias.distributions.draws import streams
from pyro_popbias.inference_data.popularity_draws import Draws
from pyro_popbias.models import AffinityDistribution

BLOCK_ELEMENTS = 4_000_000  # draws times rows at once
LABELS, AFFINITIES = 1, 2  # purposes of random streams keyed by row position; streams keyed by cell have purpose 0


@dataclass(frozen=True)
class InteractionSubset:
    """A subset of the interactions.

    Attributes:
        position: `(R,)` positions among all interactions.
        user: `(R,)` codes of users.
        item: `(R,)` codes of items.
        cell: `(R,)` codes of cells.
        label: `(R,)` 0 or 1.
        score: `(R,)` given affinities, or None.
    """

    position: np.ndarray
    user: np.ndarray
    item: np.ndarray
    cell: np.ndarray
    label: np.ndarray
    score: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.position)

    def part(self, start: int, stop: int) -> "InteractionSubset":
        """Return the rows from `start` up to `stop`."""
        part = slice(start, stop)
        return InteractionSubset(
            position=self.position[part],
            user=self.user[part],
            item=self.item[part],
            cell=self.cell[part],
            label=self.label[part],
            score=None if self.score is None else self.score[part],
        )


Value = Callable[[TorchDistribution, InteractionSubset, int], np.ndarray]


def log_likelihood(draws: Draws, rows: InteractionSubset) -> np.ndarray:
    """Return the log-likelihood of each row's label under each draw, `(chain, draw, R)` in nats."""

    def value(likelihood: TorchDistribution, block: InteractionSubset, chain: int) -> np.ndarray:
        label = torch.from_numpy(block.label.astype(np.float64)).to(draws.chains[chain].guide.device)
        return _numpy(likelihood.log_prob(label))

    return _by_row(draws, rows, value, np.dtype(np.float64))


def predictive(draws: Draws, rows: InteractionSubset) -> np.ndarray:
    """Return a label of each row under each draw, `(chain, draw, R)`; the draws of a row do not depend on the other rows."""

    def value(likelihood: TorchDistribution, block: InteractionSubset, chain: int) -> np.ndarray:
        each = streams(block.position.tolist(), seed=draws.seed, chain=chain, purpose=LABELS)
        uniform = np.stack([stream.random(draws.number) for stream in each], axis=1)
        return uniform < _numpy(likelihood.mean)

    return _by_row(draws, rows, value, np.dtype(np.int8))  # ArviZ treats unsigned integers as continuous


def _by_row(draws: Draws, rows: InteractionSubset, value: Value, dtype: np.dtype) -> np.ndarray:
    found = np.empty((len(draws.chains), draws.number, len(rows)), dtype=dtype)
    size = max(1, BLOCK_ELEMENTS // draws.number)
    for start in range(0, len(rows), size):
        block = rows.part(start, start + size)
        code, cell_index = np.unique(block.cell, return_inverse=True)
        for chain, pair in enumerate(draws.chains):
            popularity = torch.from_numpy(draws.popularity(chain, code)[:, cell_index]).to(pair.guide.device)
            with torch.no_grad():
                likelihood = pair.model.likelihood(_affinity(draws, block, chain, popularity), popularity)
                found[chain, :, start : start + size] = value(likelihood, block, chain)
    return found


def _affinity(draws: Draws, rows: InteractionSubset, chain: int, popularity: Tensor) -> Tensor:
    """Return x_ui of rows, `(B,)`, or `(draw, B)` if weights are Bayesian; with d_u t(z) where users differ in conformity.

    Args:
        draws: whose.
        rows: B rows.
        chain: number of the chain.
        popularity: `(draw, B)` draws of z.
    """
    model, guide = draws.chains[chain].model, draws.chains[chain].guide
    affinity, weights = model.affinity, guide.weights()
    if draws.distribution == "prior":
        weights = dict(model.prior_weights(weights))
    user, item = (torch.from_numpy(code.astype(np.int64)).to(guide.device) for code in (rows.user, rows.item))
    score = None if rows.score is None else torch.from_numpy(rows.score).to(guide.device)
    tables = {site: torch.from_numpy(values).to(guide.device) for site, values in draws.weights(chain).items()}
    if tables:
        # given a draw of the global weights, x_ui varies with the bias of its user alone
        each = [affinity.pairs(user, item, score, {**weights, **_known(tables, k)}) for k in range(draws.number)]
        means, variances = zip(*((part.mean, part.variance) for part in each), strict=True)
        distribution = AffinityDistribution(torch.stack(means), torch.stack(variances))
    else:
        distribution = affinity.pairs(user, item, score, weights)
    if model.conformity is not None:
        d = model.conforming(AffinityDistribution(distribution.mean.new_zeros(len(user))), user, weights).conformity
        distribution = replace(distribution, conformity=d).given(model.logit_term(popularity))
    if distribution.variance is None:
        return distribution.mean
    noise = streams(rows.position.tolist(), seed=draws.seed, chain=chain, purpose=AFFINITIES)
    normal = np.stack([stream.standard_normal(draws.number) for stream in noise], axis=1)
    return distribution.mean + distribution.variance.sqrt() * torch.from_numpy(normal).to(guide.device)


def _known(tables: dict[str, Tensor], k: int) -> dict[str, Normal]:
    """Return one draw of weights as distributions without spread."""
    return {site: Normal(table[k], torch.zeros_like(table[k]), validate_args=False) for site, table in tables.items()}


def _numpy(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor.cpu().numpy())
