"""Data sets as a check needs them: what to train on, and what a trained baseline reaches on the test."""

import abc
from pathlib import Path
from typing import final

import numpy as np
import torch
from scipy import sparse

from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.public_logs import read_adressa, read_coat
from pyro_popbias.evaluation.lists import hits_of, lists_of_rows, top_lists
from pyro_popbias.evaluation.probabilities import user_auc
from pyro_popbias.evaluation.ranking import ranking_metrics

from .baseline import Baseline
from .log import Log


class Trial(abc.ABC):
    """Training rows and a test.

    Attributes:
        log: what is trained on.
        names: of the metrics.
        deciding: position of the metric that chooses the epoch.
    """

    log: Log
    names: tuple[str, ...]
    deciding: int

    @abc.abstractmethod
    def metrics(self, baseline: Baseline) -> tuple[float, ...]:
        """Return what a baseline reaches as trained so far."""


def codes_of(train: Interactions, test: Interactions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which test rows have users and items of the training rows, and those rows' codes there."""
    user = train.users.get_indexer(test.users)[test.user]
    item = train.items.get_indexer(test.items)[test.item]
    known = (user >= 0) & (item >= 0)
    return known, user[known], item[known]


@final
class Ranked(Trial):
    """All items are ranked but those of the training rows; HR, recall and NDCG at k."""

    def __init__(self, train: Interactions, test: Interactions, *, k: int = 20) -> None:
        self.log, self.k = Log.from_interactions(train), k
        self.names, self.deciding = (f"HR@{k}", f"recall@{k}", f"NDCG@{k}"), 1
        _, user, item = codes_of(train, test)
        shape = (self.log.users, self.log.items)
        self.relevant = sparse.csr_array((np.ones(len(user), dtype=bool), (user, item)), shape=shape)
        self.seen = sparse.csr_array((np.ones(len(self.log.user)), (self.log.user, self.log.item)), shape=shape)
        self.users = np.unique(user)

    def metrics(self, baseline: Baseline) -> tuple[float, ...]:
        """Return the means over users."""
        lists = top_lists(
            lambda block: torch.as_tensor(baseline.score(block)),
            self.users,
            self.k,
            items=self.log.items,
            seen=self.seen,
        )
        number = np.asarray(self.relevant[self.users].sum(1)).ravel()
        each = ranking_metrics(hits_of(lists, self.users, self.relevant), number, self.k)
        return tuple(float(each[f"{name}@{self.k}"].mean()) for name in ("hit", "recall", "ndcg"))


@final
class Rated(Trial):
    """Each user's own test rows are ranked; area under the ROC curve of users, and NDCG at k."""

    def __init__(self, train: Interactions, test: Interactions, *, k: int = 5) -> None:
        assert test.label is not None
        self.log, self.k = Log.from_interactions(train), k
        self.names, self.deciding = ("user AUC", f"NDCG@{k}"), 0
        known, self.user, self.item = codes_of(train, test)
        self.label = np.asarray(test.label)[known]
        shape, liked = (self.log.users, self.log.items), self.label == 1
        pair = (self.user[liked], self.item[liked])
        self.relevant = sparse.csr_array((np.ones(liked.sum(), dtype=bool), pair), shape=shape)
        self.users = np.unique(self.user[liked])

    def metrics(self, baseline: Baseline) -> tuple[float, ...]:
        """Return the means over users that have what each metric needs."""
        users, row = np.unique(self.user, return_inverse=True)
        score = baseline.score(users)[row, self.item].astype(float)
        area = np.nanmean(user_auc(row, score, self.label, len(users)))
        lists = lists_of_rows(self.user, self.item, score, self.users, self.k)
        number = np.asarray(self.relevant[self.users].sum(1)).ravel()
        each = ranking_metrics(hits_of(lists, self.users, self.relevant), number, self.k)
        return float(area), float(each[f"ndcg@{self.k}"].mean())


def adressa(folder: Path) -> Ranked:
    """Return MACR's split of Adressa, whose test has four rows of every item."""
    return Ranked(*read_adressa(folder))


def adressa_at_random(folder: Path, *, seed: int = 0) -> Ranked:
    """Return a tenth of Adressa's training rows, at random, as the test: it is as biased as the rest."""
    return Ranked(*read_adressa(folder)[0].split("random", test=0.1, seed=seed))


def coat(folder: Path) -> Rated:
    """Return Coat, ratings from 4 positive, whose test shows coats at random."""
    return Rated(*read_coat(folder))
