"""How good a fit ranks a test, by the metrics of `ranking`, `popularity_bias` and `probabilities`, under a popularity mode.

A test row is relevant where its label is 1, or where there are no labels. Users without a relevant item are left out of
the lists; rows of users and items without training rows are left out of all; `notes` counts them.
"""

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import sparse

from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import ConfigError, DataError, DataWarning
from pyro_popbias.evaluation.bootstrap import Metric, inside, intervals
from pyro_popbias.evaluation.judgement import LabelledRows, metrics_of_lists, metrics_of_rows
from pyro_popbias.evaluation.lists import lists_and_ties, lists_of_rows
from pyro_popbias.evaluation.trained_rows import refuse_trained, trained_rows, warn_of_earlier
from pyro_popbias.prediction.pairs import Pairs, predict_pairs
from pyro_popbias.prediction.recommendation import refuse_one_item
from pyro_popbias.prediction.scorer import Scorer
from pyro_popbias.registry import nearest
from pyro_popbias.validation import require_integer

Candidates = Literal["all", "test"]
CANDIDATES: tuple[Candidates, ...] = ("all", "test")
LENGTH = 20  # of lists, where nothing else is asked for
AT = re.compile(r"@([1-9]\d{0,5})(?:\[|$)")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A fit judged on a test.

    Attributes:
        ids: `(U,)` of the users that are judged, in the order of a metric's weights.
        metrics: by name, from weights of users to values.
        notes: what was left out, and why, in words.
    """

    ids: np.ndarray
    metrics: Mapping[str, Metric]
    notes: tuple[str, ...]

    def metric(self, name: str, *, whose: str = "the fit") -> Metric:
        """Return a metric by its name.

        Args:
            name: as in the table.
            whose: metric it is, for the message.

        Raises:
            ConfigError: there is no such metric.
        """
        if name not in self.metrics:
            known = ", ".join(each for each in self.metrics if "[" not in each)
            raise ConfigError(
                f"PB-C374: {whose} has no metric {name!r} on this test{nearest(str(name), list(self.metrics))} Metrics: {known}; "
                "and by group, such as 'recall@20[decile 1]'"
            )
        return self.metrics[name]

    def table(self, interval: float = 0.9) -> pd.DataFrame:
        """Return metric, value, lower and upper, from a bootstrap over users; `attrs["notes"]` says what was left out.

        Args:
            interval: probability between lower and upper.
        """
        found = intervals(self.metrics, len(self.ids), interval=interval)
        for end in ("lower", "upper"):
            found[end] = inside(found[end], list(found["metric"]))
        found.attrs["notes"] = self.notes
        return found


def evaluate(
    scorer: Scorer,
    test: Interactions,
    *,
    k: int | Sequence[int],
    candidates: str,
    train: Interactions,
    score: np.ndarray | None = None,
) -> Evaluation:
    """Return how good a fit is on a test.

    Args:
        scorer: the trained pair, and what to integrate over.
        test: rows that were not trained on.
        k: length of lists, or several.
        candidates: "all" ranks the whole catalogue without what a user has a training row of, "test" each user's test rows.
        train: the rows trained on.
        score: `(N,)` given affinities of the test's rows, where the study has a score column.

    Raises:
        DataError: the test was trained on for the most part, or has no row that can be judged; or there
            is one item only.
        ConfigError: `k` or `candidates` is wrong.
    """
    lengths, wanted = _lengths(k), require_candidates(candidates)
    refuse_one_item(scorer.catalogue)
    warn_of_earlier(test, train)
    seen = _numbers(train)
    rows, notes = _rows(scorer, test, train, wanted)
    is_relevant = rows.label > 0
    relevant = _pairs(rows.user[is_relevant], rows.item[is_relevant], seen.shape)
    users = np.unique(rows.user)
    judged = np.unique(rows.user[is_relevant])
    if not len(judged):
        raise DataError(f"PB-D371: no user with training rows has a relevant row among the {len(test)} of the test")
    if len(judged) < len(users):
        notes.append(f"{len(users) - len(judged)} of {len(users)} users have no relevant row and no list")
    predicted = None
    if wanted == "test" or not is_relevant.all():
        predicted = predict_pairs(scorer, rows.pairs, score=None if score is None else score[rows.position])[
            "score"
        ].to_numpy()
    longest = max(lengths)
    if wanted == "test" and predicted is not None:
        lists = lists_of_rows(rows.user, rows.item, predicted, judged, longest)
        ties = _are_alike(rows, predicted, judged)
    else:
        lists, ties = lists_and_ties(scorer.ranking_scores(), judged, longest, items=seen.shape[1], seen=seen)
    if ties.any():
        notes.append(f"for {int(ties.sum())} of {len(judged)} users chance decides between items of equal score")
    metrics = _metrics(scorer, rows, lists, judged, relevant, seen, lengths, predicted)
    return Evaluation(scorer.catalogue.users[users].to_numpy(), metrics, tuple(notes))


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows of a test that are judged.

    Attributes:
        pairs: their ids and codes.
        label: `(N,)` 0 or 1.
        position: `(N,)` where they stand in the test.
    """

    pairs: Pairs
    label: np.ndarray
    position: np.ndarray

    @property
    def user(self) -> np.ndarray:
        """`(N,)` codes."""
        return self.pairs.user

    @property
    def item(self) -> np.ndarray:
        """`(N,)` codes."""
        return self.pairs.item


def _rows(scorer: Scorer, test: Interactions, train: Interactions, candidates: Candidates) -> tuple[_Rows, list[str]]:
    """Return the rows that are judged, and notes on the others."""
    frame = pd.DataFrame({"user": test.users[test.user], "item": test.items[test.item]})
    pairs = Pairs.from_frame(frame, scorer.catalogue, unseen="prior")
    label = np.ones(len(test)) if test.label is None else test.label.astype(float)
    known = (pairs.user >= 0) & (pairs.item >= 0)
    trained = trained_rows(test, train)
    notes = _notes(pairs, known, trained, candidates)
    kept = np.flatnonzero(known & ~trained if candidates == "all" else known)
    if len(kept) < len(test):
        notes.append(f"{len(kept)} rows of {len(np.unique(pairs.user[kept]))} users are left")
    frame, ids = (each.iloc[kept].reset_index(drop=True) for each in (pairs.frame, pairs.ids))
    return _Rows(Pairs(frame, ids, pairs.user[kept], pairs.item[kept]), label[kept], kept), notes


def _metrics(
    scorer: Scorer,
    rows: _Rows,
    lists: np.ndarray,
    judged: np.ndarray,
    relevant: sparse.csr_array,
    seen: sparse.csr_array,
    lengths: Sequence[int],
    predicted: np.ndarray | None,
) -> dict[str, Metric]:
    """Return all metrics by name, as functions of weights of the users with rows."""
    users = np.unique(rows.user)
    place = np.searchsorted(users, judged)
    metrics: dict[str, Metric] = {}
    for length in lengths:
        of_lists = metrics_of_lists(lists, judged, relevant, seen, length)
        metrics |= {name: _at(metric, place) for name, metric in of_lists.items()}
    if predicted is not None and not rows.label.all():
        labelled = LabelledRows(np.searchsorted(users, rows.user), rows.label, predicted, not scorer.model.pairwise)
        metrics |= metrics_of_rows(labelled, len(users))
    return metrics


def _are_alike(rows: _Rows, score: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Return which users have rows of several items with one score, `(U,)` truth values."""
    of_rows = pd.DataFrame({"user": rows.user, "item": rows.item, "score": score}).drop_duplicates(["user", "item"])
    return np.isin(users, of_rows["user"][of_rows.duplicated(["user", "score"])])


def _pairs(user: np.ndarray, item: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    """Return which pairs there are, `(users, items)` truth values; repeated ones count once."""
    found = sparse.csr_array((np.ones(len(user), dtype=np.int64), (user, item)), shape=shape)
    return found.astype(bool)


def _at(metric: Metric, place: np.ndarray) -> Metric:
    """Return a metric of some of the users as one of all."""
    return lambda weights: metric(weights[:, place])


def _numbers(train: Interactions) -> sparse.csr_array:
    """Return the number of training rows of each pair, `(users, items)`."""
    if train.stored is not None:
        train.stored.require_few("evaluate", "evaluate on a sample of it, or recommend and judge the lists")
    shape = len(train.users), len(train.items)
    return sparse.csr_array((np.ones(len(train)), (train.user, train.item)), shape=shape)


def _notes(pairs: Pairs, known: np.ndarray, trained: np.ndarray, candidates: Candidates) -> list[str]:
    """Return what a reader of the metrics has to know of the rows.

    Raises:
        DataError: the test was trained on for the most part.
    """
    rows, notes = len(known), []
    for name, codes in (("users", pairs.user), ("items", pairs.item)):
        if (codes < 0).any():
            notes.append(f"{int((codes < 0).sum())} of {rows} rows are of {name} without training rows, and left out")
    refuse_trained(trained)
    if trained.any():
        what = "left out, as users are not shown them again" if candidates == "all" else "ranked like all others"
        notes.append(f"{int(trained.sum())} of {rows} rows were trained on, and {what}")
        warnings.warn(f"PB-D370: {notes[-1]}", DataWarning, stacklevel=6)
    return notes


def lengths_of(metrics: Sequence[str]) -> tuple[int, ...]:
    """Return the lengths of lists that names of metrics ask for, such as 5 of "ndcg@5"; 20 where none does."""
    found = [AT.search(name) for name in metrics]
    return tuple(dict.fromkeys(int(each[1]) for each in found if each)) or (LENGTH,)


def _lengths(k: int | Sequence[int]) -> tuple[int, ...]:
    """Return lengths of lists, each once.

    Raises:
        ConfigError: there are none, or one is not an integer >= 1.
    """
    lengths = tuple(k) if isinstance(k, Iterable) and not isinstance(k, str) else (k,)
    if not lengths:
        raise ConfigError("PB-C370: k is empty; give lengths of lists, such as k=(20,)")
    return tuple(dict.fromkeys(require_integer("k", each, 1) for each in lengths))


def require_candidates(candidates: str) -> Candidates:
    """Return which items a test ranks.

    Raises:
        ConfigError: there is no such choice.
    """
    for each in CANDIDATES:
        if candidates == each:
            return each
    raise ConfigError(
        f"PB-C371: unknown candidates {candidates!r}{nearest(str(candidates), CANDIDATES)} Candidates: {', '.join(CANDIDATES)}"
    )
