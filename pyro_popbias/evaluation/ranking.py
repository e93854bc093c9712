"""Metrics of ranked lists, user by user, as trec_eval and ir-measures define them.

| metric | of a user with R relevant items |
| --- | --- |
| `hit@k` | 1 where one of the first k items is relevant (Success@k) |
| `recall@k` | relevant items among the first k, over R |
| `precision@k` | relevant items among the first k, over k |
| `ndcg@k` | sum of 1/log2(1 + rank) over the relevant ones of the first k, over its value for a list that begins with min(R, k) |
| `mrr@k` | 1 / rank of the first relevant item, 0 where it is not among the first k |
| `map@k` | sum of the precision at the rank of each relevant one of the first k, over R |
"""

import numpy as np

METRICS = ("hit", "recall", "precision", "ndcg", "mrr", "map")


def ranking_metrics(hits: np.ndarray, relevant: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Return each metric of each user, `(U,)`.

    Args:
        hits: `(U, L)` which places of a list are relevant, the best first; L may be above k, or below where there are
            fewer items.
        relevant: `(U,)` number of relevant items, 1 or more.
        k: how many places count.
    """
    hits = hits[:, :k]
    rank = np.arange(1, hits.shape[1] + 1)
    found = hits.sum(1)
    gain = 1 / np.log2(1 + rank)
    ideal = np.concatenate([[0.0], gain.cumsum()])[np.minimum(relevant, len(rank))]
    precision = hits.cumsum(1) / rank
    first = np.where(hits.any(1), 1 / (1 + hits.argmax(1)), 0.0)
    return {
        f"hit@{k}": (found > 0).astype(float),
        f"recall@{k}": found / relevant,
        f"precision@{k}": found / k,
        f"ndcg@{k}": (hits @ gain) / ideal,
        f"mrr@{k}": first,
        f"map@{k}": (hits * precision).sum(1) / relevant,
    }
