"""Scores of pairs and each user's top items, on codes: what `Fit.predict` and `Fit.recommend` put ids on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.guides import JointGuide
from pyro_popbias.models import AffinityDistribution, PopularityModel
from pyro_popbias.prediction.intervention import Popularity, Scores, scores

BLOCK_ELEMENTS = 4_000_000  # of a users x items block


@dataclass(frozen=True)
class Scorer:
    """P(c=1 | do(u,i)) of a trained pair, under one distribution of popularity.

    Attributes:
        model: the trained model.
        guide: the trained guide.
        catalogue: ids and counts.
        popularity: which distribution of popularity to integrate over.
        interval: share of popularity's mass between lower and upper.
    """

    model: PopularityModel
    guide: JointGuide
    catalogue: Catalogue
    popularity: Popularity
    interval: float

    def tensor(self, codes: np.ndarray) -> Tensor:
        """Return codes as a tensor where the model is."""
        return torch.from_numpy(np.asarray(codes, dtype=np.int64)).to(self.guide.device)

    def scores(self, affinity: AffinityDistribution, item: Tensor) -> Scores:
        """Return the scores of affinities, `(...)`, of items `(...)`.

        Where each item has its distribution, one of -1 has the population distribution, and one without rows its prior.
        """
        with torch.no_grad():
            if self.popularity == "none":
                return self._under(affinity, None)
            if self.popularity == "population":
                return self._under(affinity, self.model.prior.population())
            # pairs of an item share its distribution; a table of users has each item once
            cell, cell_index = self._last_cell().index_select(0, item.clamp(min=0)), None
            if affinity.mean.dim() == 1:
                cell, cell_index = cell.unique(return_inverse=True)
            if self.popularity == "prior":
                own = self._under(affinity, self.model.prior.distribution(cell), cell_index)
            else:
                own = self._under(affinity, self.guide.popularity.posterior(cell), cell_index)
                silent = self.tensor(self.catalogue.count).index_select(0, cell) == 0
                if silent.any():
                    prior = self._under(affinity, self.model.prior.distribution(cell), cell_index)
                    own = own.where(silent if cell_index is None else silent[cell_index], prior)
            unseen = item < 0
            return own.where(unseen, self._under(affinity, self.model.prior.population())) if unseen.any() else own

    def log_probability(self, affinity: AffinityDistribution, item: Tensor, label: Tensor) -> Tensor:
        """Return log P of labels under each item's q of popularity, `(B,)` in nats, whichever distribution scores have.

        An item of -1 has the population distribution, and one without rows its prior.

        Args:
            affinity: `(B,)`.
            item: `(B,)` codes.
            label: `(B,)` 0 or 1.
        """
        with torch.no_grad():
            cell, cell_index = self._last_cell().index_select(0, item.clamp(min=0)).unique(return_inverse=True)
            of_population = self.model.prior.population().expand((1,)), torch.zeros_like(cell_index)
            silent = (self.tensor(self.catalogue.count).index_select(0, cell) == 0)[cell_index]
            value = self.model.log_probability(label, affinity, self.guide.popularity.posterior(cell), cell_index)
            for replaced, distribution, index in (
                (silent, self.model.prior.distribution(cell), cell_index),
                (item < 0, *of_population),
            ):
                if replaced.any():
                    other = self.model.log_probability(label, affinity, distribution, index)
                    value = torch.where(replaced, other, value)
            return value

    def _under(
        self, affinity: AffinityDistribution, distribution: Distribution | None, cell_index: Tensor | None = None
    ) -> Scores:
        """Return the scores under a distribution of z, or distributions with cell_indices; None is the affinity alone."""
        return scores(self.model, affinity, distribution, interval=self.interval, cell_index=cell_index)

    def _last_cell(self) -> Tensor:
        """Return each item's last cell with rows, `(K,)`."""
        count = self.catalogue.count.reshape(-1, self.catalogue.periods)
        last = self.catalogue.periods - 1 - np.argmax(count[:, ::-1] > 0, axis=1)
        return self.tensor(np.arange(len(count)) * self.catalogue.periods + last)

    def top(self, users: np.ndarray, k: int, seen: "Seen | None") -> Iterator[tuple[np.ndarray, np.ndarray, Scores]]:
        """Yield, block after block of users, user codes, item codes and scores, best first.

        Args:
            users: codes.
            k: items a user; a user who has seen more than all but k gets fewer.
            seen: items to leave out.
        """
        item = self.tensor(np.arange(len(self.catalogue.items)))
        weights = self.guide.weights()
        # under one distribution for all items the score of a point increases with it: only the top needs its integral
        increasing = self.popularity in ("population", "none") and not weights
        size = max(1, BLOCK_ELEMENTS // len(item))
        for start in range(0, len(users), size):
            block = users[start : start + size]
            with torch.no_grad():
                affinity = self.model.affinity.table(self.tensor(block), weights)
                left = affinity.mean.clone() if increasing else self.scores(affinity, item).score
                if seen is not None:
                    position, known = seen.of(block)
                    left[self.tensor(position), self.tensor(known)] = -torch.inf
                best, column = torch.topk(left, min(k, len(item)), dim=1)
                there = best > -torch.inf
                row = torch.arange(len(block), device=column.device).unsqueeze(1).expand_as(column)[there]
                column = column[there]
                found = self.scores(affinity.at(row, column), column)
            yield block[row.cpu().numpy()], column.cpu().numpy(), found


class Seen:
    """The items that each user has a row of.

    Args:
        events: the interactions.
    """

    def __init__(self, events: Interactions) -> None:
        order = np.argsort(events.user, kind="stable")
        self._items = events.item[order]
        self._starts = np.searchsorted(events.user[order], np.arange(len(events.users) + 1))

    def of(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positions in `users` and item codes, one of each a seen item."""
        begin, end = self._starts[users], self._starts[users + 1]
        length = end - begin
        position = np.repeat(np.arange(len(users)), length)
        within = np.arange(len(position)) - np.repeat(np.cumsum(length) - length, length)
        return position, self._items[np.repeat(begin, length) + within]
