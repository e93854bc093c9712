"""Popularity of items by stage, as PDA defines it."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from .log import Log

FLOOR = (
    1e-9  # PDA's, of what it forecasts; without one the least popular items would have score 0 whatever their vectors
)
DRIFT = 0.5  # alpha of the forecast


@dataclass(frozen=True)
class Popularity:
    """Popularity m of each item in each stage, from FLOOR to 1.

    Attributes:
        m: `(T, items)`.
        stage: `(N,)` stage of each row of the log.
    """

    m: Tensor
    stage: Tensor

    @classmethod
    def from_log(cls, log: Log, *, stages: int) -> Self:
        """Count positives in stages of equal length; in one stage, the whole log, where there are no times.

        Counts have 1 added and are scaled to [0, 1] within the stage.
        """
        if log.time is None:
            stages, stage = 1, np.zeros(len(log.user), dtype=np.int64)
        else:
            begin, end = float(log.time.min()), float(log.time.max())
            share = (log.time - begin) / max(end - begin, 1e-9)
            stage = np.minimum((share * stages).astype(np.int64), stages - 1)
        rows = log.positive
        cell = stage[rows] * log.items + log.item[rows]
        count = np.bincount(cell, minlength=stages * log.items).reshape(stages, -1) + 1.0
        low, high = count.min(1, keepdims=True), count.max(1, keepdims=True)
        m = np.maximum((count - low) / np.maximum(high - low, 1), FLOOR)
        return cls(torch.as_tensor(m, dtype=torch.float32), torch.as_tensor(stage))

    def of(self, row: Tensor, item: Tensor) -> Tensor:
        """Return m of items in the stages of rows, `(B, W)`.

        Args:
            row: `(B,)` positions in the log.
            item: `(B, W)` codes; a negative has its popularity at the positive's stage.
        """
        stage = self.stage.index_select(0, row)[:, None]
        return self.m.view(-1).index_select(0, (stage * self.m.shape[1] + item).view(-1)).view_as(item)

    def forecast(self) -> Tensor:
        """Return m after the last stage, continuing half of its last change, `(items,)`."""
        last, before = self.m[-1], self.m[max(len(self.m) - 2, 0)]
        return (last + DRIFT * (last - before)).clamp(FLOOR, 1)
