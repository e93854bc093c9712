"""The training rows of a fit, by cell.

Where negatives are sampled, the ELBO sees their expected log-likelihood over the draws: every user without a positive
of the item has a row with label 0, weighted by how often the pair is drawn. Where affinities have a distribution q, it sees
the expectation of the log-likelihood over q, and each row becomes weighted rows at the nodes of a Gauss rule; where users
differ in conformity the nodes depend on z, and `CellObservations` puts them in.
"""

import numpy as np
import torch
from torch import Tensor

from pyro_popbias.assembly.pair import BLOCK, Pair
from pyro_popbias.assembly.training_data import given_score, split_rows, training_negatives
from pyro_popbias.checks.cell_likelihood import NODES, CellObservations
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import DataError
from pyro_popbias.models import AffinityDistribution
from pyro_popbias.trained import Trained


def events_of(fit: Trained | Pair) -> Interactions:
    """Return the interactions of a fit.

    Raises:
        DataError: the run was saved without them.
    """
    if fit.events is None:
        absent = fit.unsaved if isinstance(fit, Trained) and fit.absent else ""
        raise DataError(
            f"PB-D150: {absent or 'the run was saved without its interactions (--no-data)'}, so its posterior cannot be checked; "
            f"{'bring the log back' if absent else 'fit again without --no-data'}"
        )
    return fit.events


class TrainingRows:
    """The training rows of a fit by cell, with the expected sampled negatives.

    Args:
        fit: a fit or a pair.

    Attributes:
        count: `(C,)` training rows of each cell, without sampled negatives.
    """

    def __init__(self, fit: Trained | Pair) -> None:
        self._model, self._device, self._weights = fit.model, fit.guide.device, fit.guide.weights()
        self._events = events = events_of(fit)
        train, _ = split_rows(events, fit.study)
        self._rows = train[np.argsort(events.cell[train], kind="stable")]
        self.count = np.bincount(events.cell[train], minlength=events.cells)
        self._first = np.cumsum(self.count) - self.count
        self._score = given_score(events.columns, fit.study)
        self._negatives = training_negatives(events, fit.study, rows=train, device="cpu")
        if self._negatives is not None:
            self._rates = self._negatives.rates(events.user[train], events.period[train])

    def size(self, cell: np.ndarray) -> np.ndarray:
        """Return an upper bound on the number of rows of each cell, `(D,)`, negatives included."""
        rows = self.count[cell] + (len(self._events.users) if self._negatives is not None else 0)
        return rows * NODES if self._weights else rows

    def of(self, cell: np.ndarray) -> CellObservations:
        """Return the observations of some cells.

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
            weights = self._negatives.item_weights[cell[drawn] // events.periods]
            often = weights * self._rates.at(who, cell[drawn] % events.periods)
            drawn, who, often = (part[often > 0] for part in (drawn, who, often))
            cell_index, user, weight = (
                np.concatenate(pair) for pair in ((cell_index, drawn), (user, who), (weight, often))
            )
            label = np.concatenate([label, np.zeros(len(drawn))])
        score = None if self._score is None else self._score[rows]
        affinity = self._affinity(user, cell[cell_index] // events.periods, score)
        found = [torch.from_numpy(part).to(self._device) for part in (cell_index, label.astype(float), weight)]
        if affinity.conformity is not None:
            cell_indices, labels, weights = found
            of_users = affinity.conformity.mean, affinity.conformity.variance
            return CellObservations(cell_indices, affinity.mean, labels, weights, affinity.variance, *of_users)
        nodes, share = _rule(affinity)
        cell_indices, labels, weights = (part.repeat_interleave(nodes.shape[1]) for part in found)
        return CellObservations(cell_indices, nodes.reshape(-1), labels, weights * share.repeat(len(nodes)))

    def _affinity(self, user: np.ndarray, item: np.ndarray, score: np.ndarray | None) -> AffinityDistribution:
        """Return the distribution of x_ui of pairs, `(R,)`, with the conformity of their users where they differ in it."""
        codes = [torch.from_numpy(each.astype(np.int64)).to(self._device) for each in (user, item)]
        given = None if score is None else torch.from_numpy(score).to(self._device)
        parts = []
        for start in range(0, max(len(user), 1), BLOCK):
            part = slice(start, start + BLOCK)
            users, items = (each[part] for each in codes)
            parts.append(
                self._model.affinity.pairs(users, items, None if given is None else given[part], self._weights)
            )
        mean = torch.cat([part.mean.double() for part in parts])
        if self._negatives is not None:
            offset = self._negatives.log_odds_offset(*(each.cpu() for each in codes))
            mean = mean if offset is None else mean + offset.to(mean)
        variances = [part.variance for part in parts if part.variance is not None]
        whole = AffinityDistribution(mean, torch.cat(variances) if variances else None)
        return self._model.conforming(whole, codes[0], self._weights)


def _rule(affinity: AffinityDistribution) -> tuple[Tensor, Tensor]:
    """Return values of x_ui of pairs, `(R, n)`, and their probabilities, `(n,)`: a Gauss rule where x has a distribution."""
    mean = affinity.mean.unsqueeze(-1)
    if affinity.variance is None:
        return mean, mean.new_ones(1)
    node, share = (torch.from_numpy(part).to(mean) for part in np.polynomial.hermite_e.hermegauss(NODES))
    return mean + node * affinity.variance.sqrt().unsqueeze(-1), share / share.sum()
