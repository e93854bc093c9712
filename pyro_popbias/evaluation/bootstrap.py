"""The bootstrap over users: intervals of metrics, and of differences between systems that were judged on the same users.

A metric is a function of weights of users: how often each was drawn. Differences are paired: both systems see one draw.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

REPLICATES, BLOCK = 1_000, 50
# of metrics that are not shares or probabilities
RANGES = {"average_popularity": (0.0, np.inf), "log_loss": (0.0, np.inf), "popularity_correlation": (-1.0, 1.0)}
Metric = Callable[[np.ndarray], np.ndarray]  # from weights of users (B, U) to values (B,)


def ratio(numerator: np.ndarray, denominator: np.ndarray | None = None) -> Metric:
    """Return the metric sum(numerator) / sum(denominator) over users; without one, the mean where it is not NaN.

    Args:
        numerator: `(U,)`.
        denominator: `(U,)`.
    """
    if denominator is None:
        denominator = np.isfinite(numerator).astype(float)
    above, below = np.nan_to_num(numerator), denominator

    def of(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.asarray((weights @ above) / (weights @ below))

    return of


def estimates(metrics: Mapping[str, Metric], users: int) -> pd.Series:
    """Return the value of each metric."""
    once = np.ones((1, users))
    return pd.Series({name: float(metric(once)[0]) for name, metric in metrics.items()}, dtype=float)


def intervals(metrics: Mapping[str, Metric], users: int, *, interval: float = 0.9, seed: int = 0) -> pd.DataFrame:
    """Return metric, value, lower and upper, as `bounds` finds them in a bootstrap over users.

    Args:
        metrics: by name.
        users: U.
        interval: probability between lower and upper.
        seed: of the draws; the same for two systems makes them paired.
    """
    value = estimates(metrics, users)
    lower, upper = bounds(replicates(metrics, users, seed=seed), value, interval)
    return pd.DataFrame({"value": value, "lower": lower, "upper": upper}).rename_axis("metric").reset_index()


def bounds(
    drawn: pd.DataFrame, value: "pd.Series[float]", interval: float
) -> tuple["pd.Series[float]", "pd.Series[float]"]:
    """Return the percentiles of draws, moved such that the mean over draws is the value.

    What depends on how many users there are, such as coverage, is lower in every draw of them: the bootstrap's bias.

    Args:
        drawn: `(REPLICATES, metrics)`.
        value: of each metric.
        interval: probability between the two.
    """
    ends = ((1 - interval) / 2, (1 + interval) / 2)
    lower, upper = (drawn.quantile(end) - drawn.mean() + value for end in ends)
    return lower.clip(upper=value), upper.clip(lower=value)


def inside(ends: "pd.Series[float]", names: Sequence[str]) -> "pd.Series[float]":
    """Return ends of intervals, none of which a metric cannot have: `bounds` may move them out of its range.

    Args:
        ends: of the intervals.
        names: of their metrics.
    """
    base = [name.partition("@")[0] for name in names]
    low, high = zip(*(RANGES.get(each, (0.0, 1.0)) for each in base), strict=True)
    return ends.clip(lower=pd.Series(low, index=ends.index), upper=pd.Series(high, index=ends.index))


def replicates(metrics: Mapping[str, Metric], users: int, *, seed: int = 0) -> pd.DataFrame:
    """Return the value of each metric in each draw of users, `(REPLICATES, metrics)`."""
    blocks = [{name: metric(weights) for name, metric in metrics.items()} for weights in _weights(users, seed)]
    return pd.concat([pd.DataFrame(block, columns=list(metrics)) for block in blocks], ignore_index=True)


def _weights(users: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each user is drawn, `(BLOCK, U)`."""
    generator = np.random.default_rng(seed)
    for _ in range(REPLICATES // BLOCK):
        drawn = [np.bincount(generator.integers(users, size=users), minlength=users) for _ in range(BLOCK)]
        yield np.stack(drawn).astype(float)
