"""Training rows and held-out rows of a log on disk, as stretches of its file; and their order in an epoch.

Rows are stored in random order, so that a stretch of them is a random sample. The rows held out are the first of a stretch that
begins where the seed says, but for those that are the first of their user or cell: these stay for training. So neither choice is
a list of rows, and the counts of training rows are those of all rows less those of held-out ones, of which alone a pass is made.

An epoch visits blocks of the file in random order, some at a time, whose rows are mixed. Reads are sequential, and memory and the
time of a step are the same whatever N.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from pyro_popbias.data.row_counts import RowCounts, cells_of
from pyro_popbias.data.stored_log import StoredLog

BLOCK = 65_536  # rows that are read together
MIXED = 16  # blocks whose rows are mixed

Stretch = tuple[int, int]  # first position and the one after the last


@final
@dataclass(frozen=True, eq=False)
class StoredRows:
    """Some rows of a log on disk.

    Attributes:
        log: the log.
        stretches: where they are.
        left_out: `(L,)` positions within these that do not belong to them, in order.
        more: `(M,)` positions of rows elsewhere, in order.
        others: the rows that belong neither to these nor are left for them, whose counts are known by those of these; None
            where these are counted themselves.
    """

    log: StoredLog
    stretches: tuple[Stretch, ...]
    left_out: np.ndarray
    more: np.ndarray
    others: "StoredRows | None" = None

    @classmethod
    def hold_out(cls, log: StoredLog, share: float, seed: int) -> tuple["StoredRows", "StoredRows"]:
        """Return training and held-out rows; every user and every cell with rows keeps a training row.

        Args:
            log: the log.
            share: fraction of the rows to hold out.
            seed: of the random choice.

        Raises:
            CorruptCheckpointError: the rows are not what was read.
        """
        log.require_whole()  # a pass that costs little beside the many of a training
        total, none = log.rows, np.empty(0, dtype=np.int64)
        begin = int(np.random.default_rng(seed).integers(total))
        kept = np.sort((log.first - begin) % total)
        number = min(round(share * total), total - len(kept))
        # the place of the last row held out, among rows from `begin` on: rows less the kept ones before it are `number`
        length = (
            0 if not number else number + int(np.searchsorted(kept - np.arange(len(kept)), number - 1, side="right"))
        )
        inside = np.sort((kept[kept < length] + begin) % total)
        held_out = cls(log, _stretches(begin, begin + length, total), inside, none)
        return cls(log, _stretches(begin + length, begin + total, total), none, inside, held_out), held_out

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self.stretches) - len(self.left_out) + len(self.more)

    @cached_property
    def counts(self) -> RowCounts:
        """Counts of these rows."""
        log = self.log
        if self.others is not None:
            return RowCounts.of_rest(log.counts(len(log.count)), self.others.counts, log.periods)
        found = RowCounts(len(log.users), len(log.items), log.periods)
        for rows in self.blocks(BLOCK * MIXED):
            found.add(rows)
        return found

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Yield all rows, at most `size` at a time, always in the same order."""
        for start, stop in _cut(self.stretches, size):
            yield self._read(start, stop)
        for start in range(0, len(self.more), size):
            yield self.log.mapped[self.more[start : start + size]]

    def epoch(self, sizes: Iterator[int], order: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield all rows once, in random order.

        Args:
            sizes: number of rows of each batch.
            order: decides the order.
        """
        held, size = self._read(0, 0), next(sizes, None)
        for mixed in self._mixed(order):
            held = np.concatenate([held, mixed])
            place = 0
            while size is not None and place + size <= len(held):
                yield held[place : place + size]
                place, size = place + size, next(sizes, None)
            held = held[place:]

    def _mixed(self, order: np.random.Generator) -> Iterator[np.ndarray]:
        """Yield all rows once, those of a few blocks at a time, in random order."""
        parts: list[Stretch | np.ndarray] = [*_cut(self.stretches, BLOCK)]
        parts += [self.more[start : start + BLOCK] for start in range(0, len(self.more), BLOCK)]
        turn = order.permutation(len(parts))
        for first in range(0, len(parts), MIXED):
            found = []
            for number in turn[first : first + MIXED]:
                part = parts[number]
                found.append(self._read(*part) if isinstance(part, tuple) else self.log.mapped[part])
            rows = np.concatenate(found)
            yield rows[order.permutation(len(rows))]

    def _read(self, start: int, stop: int) -> np.ndarray:
        """Return the rows of a part of a stretch."""
        rows = self.log.read(start, stop)
        first, last = np.searchsorted(self.left_out, (start, stop))
        return np.delete(rows, self.left_out[first:last] - start, axis=0) if last > first else rows

    def at(self, index: np.ndarray) -> np.ndarray:
        """Return the rows of some positions among these, in the order of `blocks`, `(B, 3)` or `(B, 4)`."""
        within = len(self) - len(self.more)
        position = np.empty(len(index), dtype=np.int64)
        position[index >= within] = self.more[index[index >= within] - within]
        place = index[index < within]
        found, begun = np.empty_like(place), 0
        for start, stop in self.stretches:
            out = self.left_out[(self.left_out >= start) & (self.left_out < stop)] - start
            number = stop - start - len(out)
            own = (place >= begun) & (place < begun + number)
            rank = place[own] - begun
            found[own] = start + rank + np.searchsorted(out - np.arange(len(out)), rank, side="right")
            begun += number
        position[index < within] = found
        return self.log.mapped[position]

    def table_of(self, rows: np.ndarray) -> np.ndarray:
        """Return user, cell and label of rows, `(B, 3)`."""
        if self.log.periods == 1:
            return rows
        return np.stack([rows[:, 0], cells_of(rows, self.log.periods), rows[:, 2]], axis=1)


def _stretches(start: int, stop: int, total: int) -> tuple[Stretch, ...]:
    """Return a stretch that may go on from the end of the file at its beginning as stretches that do not."""
    parts = (start, min(stop, total)), (max(start, total) - total, stop - total)
    return tuple((first, last) for first, last in parts if first < last)


def _cut(stretches: tuple[Stretch, ...], size: int) -> list[Stretch]:
    """Return stretches in parts of at most `size` rows."""
    return [(first, min(first + size, stop)) for start, stop in stretches for first in range(start, stop, size)]
