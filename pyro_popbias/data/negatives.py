"""Negative sampling for logs that hold positives only: uniform over the items that a user has no positive of.

`popular_negatives` draws them by popularity instead.

A user's items without a positive are numbered 0, 1, ... in the order of the items. The r-th of them is r + t, where t
is the number of the user's positives p_0 < p_1 < ... with p_k - k <= r, so that one binary search finds it: nothing is
rejected, and memory is proportional to the number of positives.
"""

import numpy as np
import torch
from torch import Tensor

from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.negative_rates import NegativeRates
from pyro_popbias.data.sorted_keys import SortedKeys
from pyro_popbias.errors import DataError


class Negatives:
    """Draws negatives, and computes how often each cell is drawn on average.

    Negatives of training rows are drawn among the items without a positive among the training rows: had training to spare
    the held-out positives, it would learn from the gaps where they are, and the held-out score would be too good. A
    held-out positive is drawn as rarely as any other item, as a positive of the future is. The held-out rows themselves
    are scored against items without any positive: a row that is known to be positive is not scored as a negative.

    Args:
        events: the interactions.
        number: m, negatives per positive.
        rows: positions of the rows whose positives are never drawn; all by default.
        device: where draws live.

    Raises:
        DataError: users have every item as a positive.
    """

    def __init__(
        self, events: Interactions, number: int, *, rows: np.ndarray | None = None, device: str = "cpu"
    ) -> None:
        self.number = number
        self._items, self._periods, self._users = len(events.items), events.periods, len(events.users)
        known_rows = np.arange(len(events)) if rows is None else rows
        positive = known_rows if events.label is None else known_rows[events.label[known_rows] == 1]
        pairs = np.unique(events.user[positive] * np.int64(self._items) + events.item[positive])
        self._user, self._item = pairs // self._items, pairs % self._items
        known = np.bincount(self._user, minlength=len(events.users))
        self._unknown = self._items - known
        if not self._unknown.all():
            full = np.flatnonzero(self._unknown == 0)
            raise DataError(
                f"PB-D107: {len(full)} users (first {', '.join(events.users[full[:5]])}) have every one of the "
                f"{self._items} items as a positive, so no negative can be drawn for them; leave them out"
            )
        first = np.cumsum(known) - known
        rank = np.arange(len(pairs)) - first[self._user]
        keys = self._user * (self._items + 1) + self._item - rank
        keys, self._first, self._free = (
            torch.from_numpy(part.astype(np.int64)).to(device) for part in (keys, first, self._unknown)
        )
        self._most = int(known.max())
        self._keys = SortedKeys(keys, self._most)

    def draw(self, user: Tensor, generator: np.random.Generator) -> Tensor:
        """Return items for users `(P,)`, m each: `(P m,)`, the first user's first."""
        user = user.repeat_interleave(self.number)
        uniform = torch.from_numpy(generator.random(len(user))).to(user.device)
        rank = (uniform * self._free.index_select(0, user)).long()
        first = self._first.index_select(0, user)
        below = self._keys.count_up_to(user * (self._items + 1) + rank, first)
        return rank + below - first

    def expected(self, user: np.ndarray, period: np.ndarray) -> np.ndarray:
        """Return how many negatives each cell gets in an epoch on average, `(K T,)`.

        The sum over users u without a positive of item j of m n_ut w_j / w(u), with n_ut rows of user u in period t, w_j the
        item's weight in the draw and w(u) the sum of the weights of items without a positive of u.

        Args:
            user: `(N,)` user of each row that negatives are drawn for.
            period: `(N,)` its period, which is its negatives' too.
        """
        rates = self.rates(user, period)
        often = (rates.of_periods() - rates.of_items(self._user, self._item, self._items)).clip(min=0.0)
        return (self.item_weights[:, None] * often).reshape(-1)

    def rates(self, user: np.ndarray, period: np.ndarray) -> NegativeRates:
        """Return how often an item without a positive, of weight 1, is drawn for a user in a period on average.

        Args:
            user: `(N,)` user of each row that negatives are drawn for.
            period: `(N,)` its period.
        """
        return NegativeRates.of(
            user, period, periods=self._periods, factor=self.number, weights=np.asarray(self.free_weights)
        )

    @property
    def item_weights(self) -> np.ndarray:
        """Weight of each item in the draw, `(K,)`."""
        return np.ones(self._items)

    @property
    def free_weights(self) -> np.ndarray:
        """Sum of the weights of the items that each user has no positive of, `(U,)`."""
        return self._unknown

    def log_odds_offset(self, user: Tensor, item: Tensor) -> Tensor | None:
        """Return what this draw adds to the log odds of a label under a uniform one, `(B,)`; None where it is uniform.

        Args:
            user: `(B,)` codes.
            item: `(B,)` codes.
        """
        return None

    def without_positive(self, item: np.ndarray) -> np.ndarray:
        """Return which users have no positive of some items, `(I, U)`.

        Args:
            item: `(I,)` distinct codes.
        """
        free = np.ones((len(item), self._users), dtype=bool)
        place = np.full(self._items, -1)
        place[item] = np.arange(len(item))
        chosen = place[self._item] >= 0
        free[place[self._item[chosen]], self._user[chosen]] = False
        return free
