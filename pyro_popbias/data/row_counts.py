"""Counts of rows that come block after block: of cells and users, and the first row of each."""

from collections.abc import Mapping

import numpy as np

from pyro_popbias.data.catalogue import require_cells


class RowCounts:
    """Counts of the rows seen so far.

    Args:
        users: U.
        items: K.
        periods: T.
    """

    NAMES = ("count", "positives", "user_count", "user_positives")

    def __init__(self, users: int, items: int, periods: int) -> None:
        require_cells(items, periods)
        self._periods = periods
        self.count, self.positives = (np.zeros(items * periods, dtype=np.int64) for _ in range(2))
        self.user_count, self.user_positives = (np.zeros(users, dtype=np.int64) for _ in range(2))
        self._first: list[np.ndarray] = []
        self._rows = 0

    @classmethod
    def of_rest(cls, whole: Mapping[str, np.ndarray], part: "RowCounts", periods: int) -> "RowCounts":
        """Return the counts of all rows but some.

        Args:
            whole: the counts of all rows by name.
            part: those of the some.
            periods: T.
        """
        rest = cls(0, 0, periods)
        for name in cls.NAMES:
            setattr(rest, name, whole[name] - getattr(part, name))
        return rest

    def add(self, rows: np.ndarray) -> None:
        """Count some rows.

        Args:
            rows: `(n, 3)` user, item and label, or `(n, 4)` with the period.
        """
        user, cell = rows[:, 0], cells_of(rows, self._periods)
        positive = rows[:, 2] == 1
        first = np.union1d(_unseen(user, self.user_count), _unseen(cell, self.count))
        self._first.append(first + self._rows)
        for total, code in ((self.user_count, user), (self.count, cell)):
            total += np.bincount(code, minlength=len(total))
        for total, code in ((self.user_positives, user), (self.positives, cell)):
            total += np.bincount(code[positive], minlength=len(total))
        self._rows += len(rows)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the counts by name, with the positions of first rows."""
        found: dict[str, np.ndarray] = {name: getattr(self, name) for name in self.NAMES}
        return found | {"first": np.concatenate(self._first)}


def cells_of(rows: np.ndarray, periods: int) -> np.ndarray:
    """Return the cells of packed rows, `(n,)`."""
    return rows[:, 1] if periods == 1 else rows[:, 1] * np.int32(periods) + rows[:, 3]


def _unseen(code: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return the first position of every code that has no rows so far."""
    new = np.flatnonzero(count[code] == 0)
    place = np.full(len(count) if len(new) else 0, -1)
    place[code[new[::-1]]] = new[::-1]  # of equal codes the last one written stays
    return place[place >= 0]
