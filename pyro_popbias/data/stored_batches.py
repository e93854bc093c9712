"""Batches of a log on disk: those of `TrainingBatches`, of which no more is in memory than a few blocks."""

from collections.abc import Iterator
from typing import final

import numpy as np
import torch
from torch import Tensor

from pyro_popbias.data.batch import Batch
from pyro_popbias.data.batches import BatchCells, Latent, TrainingBatches
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.negatives import Negatives
from pyro_popbias.data.stored_rows import StoredRows
from pyro_popbias.errors import DataError

MOST_WHOLE = 1_000_000  # rows that are one batch, or that are given as codes


@final
class StoredBatches(TrainingBatches):
    """Interactions on disk, ready to be cut into batches.

    Args:
        events: the interactions.
        rows: the rows to hold.
        latent: as in `TrainingBatches`.
        cells: likewise.
        device: where batches live.
    """

    keeps_affinities = False

    def __init__(
        self,
        events: Interactions,
        rows: StoredRows,
        *,
        latent: Latent = "item",
        cells: BatchCells = "of batch",
        device: str,
    ) -> None:
        self.periods, self.latent, self._cells = events.periods, latent, cells
        self._negatives, self._draws, self._known = None, 1, {}
        self._rows, self._device = rows, device
        self._hold_all(len(rows))
        counts = rows.counts
        of_cells = np.pad(counts.count, (0, events.cells - len(counts.count)))
        self._set_counts(of_cells.astype(np.float64), counts.user_count.astype(np.float64), device)

    def __len__(self) -> int:
        return len(self._rows)

    def codes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return user, item and label of the rows held, `(N,)` each.

        Raises:
            DataError: there are too many.
        """
        self._require_few("to list all")
        rows = np.concatenate(list(self._rows.blocks(MOST_WHOLE)))
        return rows[:, 0], rows[:, 1], rows[:, 2]

    def batch(self, index: Tensor, *, stream: tuple[int, ...] = (0,)) -> Batch:
        """Return the batch of some rows.

        Args:
            index: `(B,)` positions among the rows held.
            stream: is not used, as no negatives are drawn.
        """
        return self._batch(self._rows.at(index.cpu().numpy()))

    def whole(self) -> Batch:
        """Return all rows as one batch.

        Raises:
            DataError: there are too many.
        """
        self._require_few("to make one batch of")
        return self._batch(np.concatenate(list(self._rows.blocks(MOST_WHOLE))))

    def batches(self, batch_size: int, *, seed: int, epoch: int) -> Iterator[Batch]:
        """Yield the batches of one epoch: every row held once, sizes that differ by one at most.

        Args:
            batch_size: upper bound of a batch's rows.
            seed: with `epoch`, decides the order.
            epoch: counted from 0.
        """
        total = len(self)
        number = -(-total // max(1, batch_size))
        sizes = (total * (k + 1) // number - total * k // number for k in range(number))
        for rows in self._rows.epoch(sizes, np.random.default_rng((seed, epoch))):
            yield self._batch(rows)

    def blocks(self, size: int) -> Iterator[Batch]:
        """Yield all rows held in their order, at most `size` at a time, for evaluation."""
        for rows in self._rows.blocks(max(1, size)):
            yield self._batch(rows)

    def _batch(self, rows: np.ndarray) -> Batch:
        table = torch.from_numpy(self._rows.table_of(rows)).to(self._device).long()
        return self._finish(table, {}, scale=len(self) / len(table))

    def _require_few(self, what: str) -> None:
        if len(self) > MOST_WHOLE:
            raise DataError(
                f"PB-D448: {what} {len(self):,} rows of a stored log would hold them in memory, more than {MOST_WHOLE:,}; go "
                "through them with batches() or blocks(), or judge a training by its log score"
            )


def batches_of(
    events: Interactions,
    rows: np.ndarray | StoredRows,
    *,
    score: np.ndarray | None = None,
    negatives: Negatives | None = None,
    latent: Latent = "item",
    cells: BatchCells = "of batch",
    device: str = "cpu",
) -> TrainingBatches:
    """Return the batches of some rows, in memory or on disk.

    Args:
        events: the interactions.
        rows: positions of rows, or rows of a log on disk.
        score: as in `TrainingBatches`.
        negatives: likewise.
        latent: likewise.
        cells: likewise.
        device: likewise.
    """
    if isinstance(rows, StoredRows):
        return StoredBatches(events, rows, latent=latent, cells=cells, device=device)
    return TrainingBatches(events, rows, score=score, negatives=negatives, latent=latent, cells=cells, device=device)
