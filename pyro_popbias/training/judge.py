"""What judges a training between epochs: a ranking of the held-out rows, without what users have training rows of."""

import math

import numpy as np
from scipy import sparse
from torch import Tensor

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.errors import DataError
from pyro_popbias.evaluation.lists import hits_of, top_lists
from pyro_popbias.evaluation.ranking import ranking_metrics
from pyro_popbias.prediction.scorer import Scorer
from pyro_popbias.training.held_out import said

MOST_USERS = 20_000  # whose lists are judged; more hardly tell epochs apart better


class RankingJudge:
    """The mean of a ranking metric over users with held-out positives.

    Args:
        pair: what is trained.
        metric: such as "ndcg@20".
        k: length of the lists.

    Raises:
        DataError: no positives are held out.
    """

    def __init__(self, pair: Pair, metric: str, k: int) -> None:
        self._metric, self._k = metric, k
        catalogue, popularity = pair.events.catalogue, pair.study.training.held_out.popularity
        self._scorer = Scorer(pair.model, pair.guide, catalogue, popularity, 0.9)
        shape = len(catalogue.users), len(catalogue.items)
        user, item, label = (np.empty(0),) * 3 if pair.held_out is None else pair.held_out.codes()
        if not (label > 0).any():
            raise DataError(
                f"PB-D373: no positives are held out to judge by {metric}; give [training] validation a larger share"
            )
        self._relevant = _pairs(user[label > 0], item[label > 0], shape)
        trained = pair.rows.codes()
        self._seen = _pairs(trained[0], trained[1], shape)
        users = np.unique(user[label > 0])
        if len(users) > MOST_USERS:
            users = np.sort(np.random.default_rng(0).choice(users, MOST_USERS, replace=False))
        self._users = users

    def __call__(self) -> float:
        """Return the metric of the pair as it is now; NaN, with a warning, where a score is not a number."""
        scores, broken = self._scorer.ranking_scores(), False

        def watched(users: np.ndarray) -> Tensor:
            nonlocal broken
            found = scores(users)
            broken = broken or bool(found.isnan().any())
            return found

        lists = top_lists(watched, self._users, self._k, items=self._relevant.shape[1], seen=self._seen)
        if broken:  # which a sort would put first
            return said(math.nan, self._metric)
        hits = hits_of(lists, self._users, self._relevant)
        found = ranking_metrics(hits, self._relevant[self._users].sum(1), self._k)
        return float(found[self._metric].mean())


def _pairs(user: np.ndarray, item: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    return sparse.csr_array((np.ones(len(user), dtype=np.int64), (user, item)), shape=shape).astype(bool)
