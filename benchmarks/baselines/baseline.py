"""What every baseline does: it trains epoch by epoch, scores all items, and goes back to an epoch on request."""

import abc
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from .log import Log


class Baseline(abc.ABC):
    """A method that ranks items for users.

    Attributes:
        grid: settings to choose from on validation rows, at most 12.
        needs_labels: whether it is meaningless on a log of positives alone.
        log: the training rows.
    """

    grid: ClassVar[list[dict[str, Any]]]
    needs_labels: ClassVar[bool] = False

    def __init__(self, log: Log, *, seed: int) -> None:
        if self.needs_labels and log.label is None:
            raise ValueError(f"{type(self).__name__} needs labels of both classes; this log has positives alone")
        self.log = log
        self.seed = seed

    @abc.abstractmethod
    def epochs(self) -> Iterator[int]:
        """Train, and yield the number of epochs done, so that a judge may look or stop; without training, yield once."""

    @abc.abstractmethod
    def score(self, users: np.ndarray) -> np.ndarray:
        """Return scores of all items as trained so far, `(U, items)` float32; higher is better.

        Args:
            users: `(U,)` codes.
        """

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """Return a copy of what training has changed."""

    @abc.abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""


class Untrained(Baseline):
    """A baseline of counts, ready when made: one score an item, the same for all users."""

    @abc.abstractmethod
    def item_scores(self) -> np.ndarray:
        """Return one score an item, `(items,)`."""

    def epochs(self) -> Iterator[int]:
        """Yield once."""
        yield 1

    def score(self, users: np.ndarray) -> np.ndarray:
        """Return the items' scores for each user."""
        return np.tile(self.item_scores().astype(np.float32), (len(users), 1))

    def state(self) -> dict[str, Any]:
        """Return nothing: there is no training."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Do nothing."""
