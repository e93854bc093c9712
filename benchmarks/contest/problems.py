"""Data sets with a test that is not popularity-biased, and how a system is judged on them.

A system is a table of scores: from user codes `(U,)` to the scores of all items `(U, K)`. Settings and numbers of epochs are
chosen on rows held out of the training rows; the test is read by `judged_on_test` alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

import pyro_popbias as pb
from pyro_popbias.data.holdout import hold_out
from pyro_popbias.data.splits import Split
from pyro_popbias.evaluation import Evaluation, metrics_of_lists, metrics_of_rows, top_lists
from pyro_popbias.evaluation.judgement import LabelledRows
from pyro_popbias.evaluation.lists import lists_of_rows

ScoreTable = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows, `(N,)` each, in the codes of the training rows; without labels all are positives."""

    user: np.ndarray
    item: np.ndarray
    label: np.ndarray | None

    def take(self, index: np.ndarray) -> "Rows":
        """Return some of them."""
        return Rows(self.user[index], self.item[index], None if self.label is None else self.label[index])

    @property
    def positive(self) -> np.ndarray:
        """Positions of the positives."""
        return np.arange(len(self.user)) if self.label is None else np.flatnonzero(self.label)


@dataclass(frozen=True, eq=False)
class Problem:
    """A data set and its protocol.

    Attributes:
        name: of the data set.
        train: what may be trained on.
        test: what is judged in the end.
        split: how validation rows are held out.
        share: of the training rows held out.
        decides: the metric that chooses settings and epochs.
        metrics: what the table shows.
        k: length of lists.
        ranks_all: whether the whole catalogue is ranked, without what a user has a row of; else each user's own test rows.
    """

    name: str
    train: pb.Interactions
    test: pb.Interactions
    split: Split
    share: float
    decides: str
    metrics: tuple[str, ...]
    k: int
    ranks_all: bool

    @cached_property
    def rows(self) -> Rows:
        """All training rows."""
        return Rows(self.train.user, self.train.item, self.train.label)

    @cached_property
    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the rows to train on and of the validation rows: those that a study of seed 0 holds out."""
        return hold_out(self.train, np.arange(len(self.train)), self.share, 0, how=self.split)

    def lists(self, table: ScoreTable) -> np.ndarray:
        """Return the first k items of every user without the user's training rows, `(users, k)` codes."""
        users, items = len(self.train.users), len(self.train.items)
        seen = self._pairs(self.rows)
        return top_lists(lambda some: torch.from_numpy(table(some)), np.arange(users), self.k, items=items, seen=seen)

    def validation_score(self, table: ScoreTable) -> float:
        """Return the metric that decides, on the validation rows."""
        train, held_out = self.parts
        judged = self._judged(table, self.rows.take(held_out), seen=self.rows.take(train), is_probability=False)
        return float(judged.metrics[self.decides](np.ones((1, len(judged.ids))))[0])

    def judged_on_test(self, table: ScoreTable, *, is_probability: bool) -> Evaluation:
        """Return the metrics of the test as functions of weights of users.

        Args:
            table: the system.
            is_probability: whether its scores are P(c=1).
        """
        user, item = (
            known.get_indexer(ids)[code]
            for known, ids, code in (
                (self.train.users, self.test.users, self.test.user),
                (self.train.items, self.test.items, self.test.item),
            )
        )
        known = (user >= 0) & (item >= 0)
        rows = Rows(user, item, self.test.label).take(np.flatnonzero(known))
        return self._judged(table, rows, seen=self.rows, is_probability=is_probability)

    def _judged(self, table: ScoreTable, rows: Rows, *, seen: Rows, is_probability: bool) -> Evaluation:
        seen_pairs, relevant = self._pairs(seen), self._pairs(rows.take(rows.positive)).astype(bool)
        judged = np.unique(rows.user[rows.positive])
        if self.ranks_all:
            lists = top_lists(
                lambda users: torch.from_numpy(table(users)), judged, self.k, items=relevant.shape[1], seen=seen_pairs
            )
            return Evaluation(judged, metrics_of_lists(lists, judged, relevant, seen_pairs, self.k), ())
        users, place = np.unique(rows.user, return_inverse=True)
        assert rows.label is not None
        score = table(users)[place, rows.item].astype(float)
        metrics = metrics_of_rows(LabelledRows(place, rows.label, score, is_probability), len(users))
        lists = lists_of_rows(rows.user, rows.item, score, judged, self.k)
        at = np.searchsorted(users, judged)
        for name, metric in metrics_of_lists(lists, judged, relevant, seen_pairs, self.k).items():
            metrics[name] = lambda weights, metric=metric: metric(weights[:, at])  # type: ignore[misc]
        return Evaluation(users, metrics, ())

    def _pairs(self, rows: Rows) -> sparse.csr_array:
        shape = len(self.train.users), len(self.train.items)
        return sparse.csr_array((np.ones(len(rows.user)), (rows.user, rows.item)), shape=shape)


def table_of_lists(lists: np.ndarray, items: int) -> ScoreTable:
    """Return scores that rank like lists.

    Args:
        lists: `(users, k)` item codes, best first.
        items: K.
    """

    def table(users: np.ndarray) -> np.ndarray:
        scores = np.full(
            (len(users), items + 1), -np.inf, dtype=np.float32
        )  # the last one for places that no item fills
        np.put_along_axis(scores, lists[users], -np.arange(lists.shape[1], dtype=np.float32)[None], axis=1)
        return scores[:, :-1]

    return table


def adressa(folder: Path) -> Problem:
    """Return Adressa in MACR's split: positives only; the test has four rows of every item."""
    train, test = pb.read_adressa(folder / "adressa-macr")
    metrics = ("hit@20", "recall@20", "ndcg@20")
    return Problem("adressa", train, test, "item-uniform", 0.013, "ndcg@20", metrics, 20, ranks_all=True)


def coat(folder: Path) -> Problem:
    """Return Coat: ratings of 4 and 5 are positives; the test has 16 coats drawn at random for every user."""
    train, test = pb.read_coat(folder / "coat")
    metrics = ("user_auc", "ndcg@5")
    return Problem("coat", train, test, "item-uniform", 0.25, "user_auc", metrics, 5, ranks_all=False)


PROBLEMS = {"adressa": adressa, "coat": coat}
