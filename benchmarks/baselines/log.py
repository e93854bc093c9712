"""What a baseline may see of a data set."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from pyro_popbias.data.interactions import Interactions


@dataclass(frozen=True, eq=False)
class Log:
    """Training rows, users and items as codes from 0.

    Attributes:
        user: `(N,)` codes.
        item: `(N,)` codes.
        label: `(N,)` 0 or 1; None where every row is a positive.
        users: number of users, those without rows included.
        items: number of items, those without rows included.
        time: `(N,)` in seconds; None without.
    """

    user: np.ndarray
    item: np.ndarray
    label: np.ndarray | None
    users: int
    items: int
    time: np.ndarray | None = None

    @classmethod
    def from_interactions(cls, events: Interactions) -> Self:
        """Return the rows of interactions."""
        return cls(
            user=np.asarray(events.user, dtype=np.int64),
            item=np.asarray(events.item, dtype=np.int64),
            label=None if events.label is None else np.asarray(events.label),
            users=len(events.users),
            items=len(events.items),
            time=events.time,
        )

    @property
    def positive(self) -> np.ndarray:
        """Positions of the positives, `(P,)`."""
        return np.arange(len(self.user)) if self.label is None else np.flatnonzero(self.label)

    def item_counts(self, *, positives: bool) -> np.ndarray:
        """Return the number of rows of each item, `(items,)`.

        Args:
            positives: count positives only, in place of all rows.
        """
        chosen = self.item[self.positive] if positives else self.item
        return np.bincount(chosen, minlength=self.items)
