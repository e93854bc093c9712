"""What the training rows say of a cell's popularity: their affinities, labels and weights, given the model's parameters.

Where negatives are sampled, what the ELBO sees of them on average is the expected log-likelihood over the draws: every
user without a positive of the item has a row of label 0, weighted by how often the pair is drawn. Rows of a cell that
are many are replaced by few, at which every likelihood here has the same sum: log P(c | x, z) is analytic in x up to Im
x = +-pi, where the logistic function has its poles, so that a sum over rows is a sum over Chebyshev nodes to rounding.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from pyro_popbias.assembly.pair import BLOCK, Pair
from pyro_popbias.assembly.training_data import given_score, split_rows
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.negatives import Negatives
from pyro_popbias.errors import DataError
from pyro_popbias.models import PopularityModel
from pyro_popbias.trained import Trained

DIGITS = 28.0  # nats of relative precision that the replacing rows keep


def events_of(fit: Trained | Pair) -> Interactions:
    """Return the interactions.

    Raises:
        DataError: the run was saved without them.
    """
    if fit.events is None:
        raise DataError(
            "PB-D150: the run was saved without its interactions (--no-data), so nothing can be held against them; fit again "
            "with them"
        )
    return fit.events


@dataclass(frozen=True)
class CellObservations:
    """R rows that speak of D cells.

    | field | shape | meaning |
    | --- | --- | --- |
    | cell_index | (R,) | which of the cells |
    | affinity | (R,) | x_ui, the intercept included |
    | label | (R,) | 0 or 1 |
    | weight | (R,) | how often the row counts |
    """

    cell_index: Tensor
    affinity: Tensor
    label: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.cell_index)

    def blocks(self, size: int) -> Iterator["CellObservations"]:
        """Yield the rows in blocks of a size."""
        for start in range(0, len(self), size):
            yield CellObservations(*(getattr(self, field.name)[start : start + size] for field in fields(self)))

    def log_likelihood(self, model: PopularityModel, z: Tensor) -> Tensor:
        """Return the log-likelihood of each cell's rows at some values of its popularity, `(n, D)`, in nats.

        Args:
            model: whose likelihood it is.
            z: `(n, D)`.
        """
        total = torch.zeros_like(z)
        for rows in self.blocks(max(1, BLOCK // len(z))):
            distribution = model.likelihood(rows.affinity, z.index_select(-1, rows.cell_index))
            total.index_add_(-1, rows.cell_index, rows.weight * distribution.log_prob(rows.label))
        return total

    def compressed(self) -> "CellObservations":
        """Return evidence of the same log-likelihood in which no cell has many rows of a label."""
        group = 2 * self.cell_index + self.label.long()
        count = torch.bincount(group)
        ends = [
            torch.zeros(len(count), dtype=torch.float64, device=group.device).scatter_reduce(
                0, group, self.affinity, how, include_self=False
            )
            for how in ("amin", "amax")
        ]
        center, half = 0.5 * (ends[0] + ends[1]), 0.5 * (ends[1] - ends[0])
        # the error of n nodes on an interval of half width r falls by asinh(pi / r) nats a node
        nodes = math.ceil(DIGITS / math.asinh(math.pi / max(float(half.max()), 0.1)))
        many = (count > nodes).nonzero().squeeze(-1)
        if not len(many):
            return self
        place = torch.full_like(count, -1).index_copy_(0, many, torch.arange(len(many), device=many.device))
        to = place.index_select(0, group)
        replaced, kept = to >= 0, to < 0
        unit = (self.affinity - center[group]) / half[group].clamp(min=1e-9)
        node, weight = _chebyshev(unit[replaced], self.weight[replaced], to[replaced], len(many), nodes)
        parts = (
            (self.cell_index, (many // 2).repeat_interleave(nodes)),
            (self.affinity, (center[many, None] + half[many, None] * node).reshape(-1)),
            (self.label, (many % 2).double().repeat_interleave(nodes)),
            (self.weight, weight.reshape(-1)),
        )
        return CellObservations(*(torch.cat([own[kept], new]) for own, new in parts))


def _chebyshev(unit: Tensor, weight: Tensor, group: Tensor, groups: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Return nodes `(n,)` in (-1, 1) and weights `(G, n)` that have the same sums as points of G groups.

    Args:
        unit: `(R,)` points in [-1, 1].
        weight: `(R,)` their weights.
        group: `(R,)` their groups.
        groups: G.
        nodes: n.
    """
    moments = torch.zeros(nodes, groups, dtype=torch.float64, device=unit.device)
    before, now = unit, torch.ones_like(unit)  # T_{-1} = T_1
    for k in range(nodes):
        moments[k].index_add_(0, group, (2 if k else 1) * weight * now)
        before, now = now, 2 * unit * now - before
    angle = math.pi * (torch.arange(nodes, dtype=torch.float64, device=unit.device) + 0.5) / nodes
    order = torch.arange(nodes, dtype=torch.float64, device=unit.device)
    # weight of node k = (1/n) (M_0 + 2 sum over m of M_m T_m(node k))
    return torch.cos(angle), moments.T @ torch.cos(order[:, None] * angle) / nodes


class TrainingRows:
    """The training rows of a fit by cell, with what is drawn beside them.

    Args:
        fit: a fit or a pair.

    Attributes:
        count: `(C,)` training rows of each cell, without sampled negatives.
    """

    def __init__(self, fit: Trained | Pair) -> None:
        self._model, self._device = fit.model, fit.guide.device
        self._events = events = events_of(fit)
        train, _ = split_rows(events, fit.study)
        self._rows = train[np.argsort(events.cell[train], kind="stable")]
        self.count = np.bincount(events.cell[train], minlength=events.cells)
        self._first = np.cumsum(self.count) - self.count
        self._score = given_score(events, fit.study)
        number = fit.study.data.negatives or 0
        self._negatives = Negatives(events, number, rows=train) if number else None
        if self._negatives is not None:
            self._rates = self._negatives.rates(events.user[train], events.period[train])

    def size(self, cell: np.ndarray) -> np.ndarray:
        """Return how many rows speak of each of some cells, at most, `(D,)`."""
        return self.count[cell] + (len(self._events.users) if self._negatives is not None else 0)

    def of(self, cell: np.ndarray) -> CellObservations:
        """Return the evidence of some cells.

        Args:
            cell: `(D,)` distinct cells.
        """
        events, count = self._events, self.count[cell]
        cell_index = np.repeat(np.arange(len(cell)), count)
        within = np.arange(len(cell_index)) - np.repeat(np.cumsum(count) - count, count)
        rows = self._rows[np.repeat(self._first[cell], count) + within]
        user, weight = events.user[rows], np.ones(len(rows))
        given = None if self._negatives is not None else events.label
        label = np.ones(len(rows)) if given is None else given[rows]
        if self._negatives is not None:
            items, place = np.unique(cell // events.periods, return_inverse=True)
            drawn, who = np.nonzero(self._negatives.without_positive(items)[place])
            often = self._rates[who, cell[drawn] % events.periods]
            drawn, who, often = (part[often > 0] for part in (drawn, who, often))
            cell_index, user, weight = (
                np.concatenate(pair) for pair in ((cell_index, drawn), (user, who), (weight, often))
            )
            label = np.concatenate([label, np.zeros(len(drawn))])
        score = None if self._score is None else self._score[rows]
        affinity = self._affinity(user, cell[cell_index] // events.periods, score)
        found = (torch.from_numpy(part).to(self._device) for part in (cell_index, label.astype(float), weight))
        cell_indices, labels, weights = found
        return CellObservations(cell_indices, affinity, labels, weights)

    def _affinity(self, user: np.ndarray, item: np.ndarray, score: np.ndarray | None) -> Tensor:
        """Return x_ui of pairs, `(R,)`."""
        parts = []
        for start in range(0, max(len(user), 1), BLOCK):
            part = slice(start, start + BLOCK)
            users, items = (torch.from_numpy(each[part].astype(np.int64)).to(self._device) for each in (user, item))
            given = None if score is None else torch.from_numpy(score[part]).to(self._device)
            parts.append(self._model.affinity.pairs(users, items, given, {}).mean.double())
        return torch.cat(parts)
