"""Negatives drawn by popularity: an item as often as it is a positive, among those that a user has no positive of.

Drawn uniformly, negatives are mostly items that nobody asks for, which a model tells from positives by popularity alone. Drawn by
popularity they are about as popular as positives, and every label says more about taste: noise like the data is what noise-
contrastive estimation wants (Gutmann and Hyvarinen 2012).

The labels' odds change by a known factor. A pair (u, i) that is drawn r_ui times as often as by a uniform draw has

    odds of label 1 here = odds under a uniform draw / r_ui        r_ui = (K - positives of u) w_i / w(u)

with w_i the item's weight and w(u) the sum of those of the items without a positive of u. Training adds -log r_ui to the log
odds, so that popularity and scores mean what they mean under uniform draws.
"""

from typing import final

import numpy as np
import torch
from torch import Tensor

from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.negatives import Negatives
from pyro_popbias.data.sorted_keys import SortedKeys


@final
class PopularNegatives(Negatives):
    """Draws an item with the weight w_i = (1 + its positives) / (K + all positives).

    The items that a user has no positive of are laid end to end, each as long as its weight: a point on that line is found by
    one binary search among the user's positives and one among all items.

    Args:
        events: the interactions.
        number: m, negatives per positive.
        rows: positions of the rows whose positives are never drawn, and count; all by default.
        device: where draws live.

    Raises:
        DataError: users have every item as a positive.
    """

    def __init__(
        self, events: Interactions, number: int, *, rows: np.ndarray | None = None, device: str = "cpu"
    ) -> None:
        super().__init__(events, number, rows=rows, device=device)
        often = 1.0 + np.bincount(self._item, minlength=self._items)
        self._weights = often / often.sum()
        taken = self._weights[self._item]
        self._free_weights = 1.0 - np.bincount(self._user, weights=taken, minlength=self._users)
        ends = np.cumsum(self._weights)
        before = np.concatenate([[0.0], np.cumsum(taken)])  # of the pairs, which are sorted by user and item
        first = self._first.cpu().numpy()
        of_user = before[:-1] - before[first[self._user]]
        # the line's length before each of a user's positives, users apart
        keys = 2.0 * self._user + ends[self._item] - taken - of_user
        log_ratio = np.log(self._unknown / self._free_weights)
        self._ends, self._before, line, self._free, self._log_weight, self._log_ratio = (
            torch.from_numpy(part).to(device)
            for part in (ends, before, keys, self._free_weights, np.log(self._weights), log_ratio)
        )
        self._line = SortedKeys(line, self._most)

    def draw(self, user: Tensor, generator: np.random.Generator) -> Tensor:
        """Return items for users `(P,)`, m each: `(P m,)`, the first user's first."""
        user = user.repeat_interleave(self.number)
        point = torch.from_numpy(generator.random(len(user))).to(user.device) * self._free.index_select(0, user)
        first = self._first.index_select(0, user)
        passed = self._line.count_up_to(2.0 * user + point, first)
        place = point + self._before.index_select(0, passed) - self._before.index_select(0, first)
        return torch.searchsorted(self._ends, place, right=True).clamp(max=self._items - 1)

    @property
    def item_weights(self) -> np.ndarray:
        """Weight of each item in the draw, `(K,)`."""
        return self._weights

    @property
    def free_weights(self) -> np.ndarray:
        """Sum of the weights of the items that each user has no positive of, `(U,)`."""
        return self._free_weights

    def log_odds_offset(self, user: Tensor, item: Tensor) -> Tensor:
        """Return -log r_ui of pairs, `(B,)`."""
        return -self._log_weight.index_select(0, item) - self._log_ratio.index_select(0, user)
