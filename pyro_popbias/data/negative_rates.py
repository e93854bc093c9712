"""How often negatives are drawn for each user in each period: kept where a user has rows in a period, and nowhere else."""

from dataclasses import dataclass
from typing import Self, final

import numpy as np
from scipy import sparse

DENSE = 4  # users times periods for each row, up to which a table of all of them is no larger than the rows


@final
@dataclass(frozen=True)
class NegativeRates:
    """Rates of users in periods, of which most may be 0.

    Attributes:
        table: `(U, T)` rates.
        is_dense: whether a table with every user and period is about as small as the rows.
    """

    table: sparse.csr_array
    is_dense: bool

    @classmethod
    def of(cls, user: np.ndarray, period: np.ndarray, *, periods: int, factor: float, weights: np.ndarray) -> Self:
        """Return factor times the number of rows of each user and period, over the user's weight.

        Args:
            user: `(N,)` user of each row.
            period: `(N,)` its period.
            periods: T.
            factor: of all.
            weights: `(U,)` of each user.
        """
        size, key = len(weights) * periods, user * np.int64(periods) + period
        if is_dense := size <= DENSE * max(len(key), len(weights)):
            rows = np.bincount(key, minlength=size)
            found = np.flatnonzero(rows)
            rows = rows[found]
        else:
            found, rows = np.unique(key, return_counts=True)
        who, when = found // periods, found % periods
        first = np.searchsorted(who, np.arange(len(weights) + 1))
        shape = len(weights), periods
        return cls(sparse.csr_array((factor * rows / weights[who], when, first), shape=shape), is_dense)

    def at(self, user: np.ndarray, period: np.ndarray) -> np.ndarray:
        """Return the rates of some users in some periods, `(R,)`."""
        periods, table = self.table.shape[1], self.table
        keys = np.repeat(np.arange(table.shape[0], dtype=np.int64), np.diff(table.indptr)) * periods + table.indices
        wanted = user * np.int64(periods) + period
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[place] == wanted, table.data[place], 0.0)

    def of_periods(self) -> np.ndarray:
        """Return the sum over users of each period, `(T,)`."""
        return np.asarray((self.table.toarray() if self.is_dense else self.table).sum(0))

    def of_items(self, user: np.ndarray, item: np.ndarray, items: int) -> np.ndarray:
        """Return the sum of each item and period over the users that some pairs are of, `(K, T)`.

        Args:
            user: `(P,)` users of the pairs.
            item: `(P,)` their items.
            items: K.
        """
        pairs = sparse.csr_array((np.ones(len(user)), (user, item)), shape=(self.table.shape[0], items))
        return np.asarray((pairs.T @ self.table).toarray())
