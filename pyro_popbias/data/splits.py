"""Ways to hold rows out: which rows of a log become a test, or the rows that judge a training.

| how | held out |
| --- | --- |
| `random` | rows, uniformly |
| `temporal` | the latest rows |
| `item-uniform` | as many rows of every item as of any other, at most half of each: a test that is not popularity-biased |
| `leave-last` | the last row of every user with two or more |
"""

from typing import Literal, get_args

import numpy as np

from pyro_popbias.errors import ConfigError
from pyro_popbias.registry import nearest
from pyro_popbias.validation import require_seed

Split = Literal["random", "temporal", "item-uniform", "leave-last"]
SPLITS: tuple[Split, ...] = get_args(Split)
TIMED: tuple[Split, ...] = ("temporal", "leave-last")


def require_split(how: object, *, has_time: bool) -> Split:
    """Return how to split.

    Raises:
        ConfigError: there is no such split, or it needs times and there are none.
    """
    for each in SPLITS:
        if how == each:
            if each in TIMED and not has_time:
                raise ConfigError(f"PB-C005: the split {each!r} needs a time column; pass time=")
            return each
    raise ConfigError(f"PB-C006: unknown split {how!r}{nearest(str(how), SPLITS)} Splits: {', '.join(SPLITS)}")


def choose_test(
    how: Split, test: float, seed: int, *, user: np.ndarray, item: np.ndarray, time: np.ndarray | None
) -> np.ndarray:
    """Return which rows of a log are its test, `(N,)` truth values, by the arguments of `Interactions.split`.

    Args:
        how: the split.
        test: share of the rows.
        seed: of the random choice.
        user: `(N,)` codes.
        item: `(N,)` codes.
        time: `(N,)` times; None without.

    Raises:
        ConfigError: `how`, `test` or `seed` is wrong, the split needs times, or one side would be empty.
    """
    seed, how = require_seed(seed), require_split(how, has_time=time is not None)
    number = round(test * len(user)) if isinstance(test, float) and 0 < test < 1 else 0
    if not 0 < number < len(user):
        raise ConfigError(
            f"PB-C007: test={test!r} of {len(user)} rows leaves train or test empty; give a share such as 0.1"
        )
    order, free = np.random.default_rng(seed).permutation(len(user)), np.ones(len(user), dtype=bool)
    if how == "item-uniform":
        for codes in (user, item):
            free[order[np.unique(codes[order], return_index=True)[1]]] = False
    chosen = choose_rows(how, order, number, free=free, user=user, item=item, time=time)
    if not chosen.any() or chosen.all():
        raise ConfigError(f"PB-C007: the split {how!r} of {len(user)} rows leaves train or test empty")
    return chosen


def choose_rows(
    how: Split,
    order: np.ndarray,
    number: int,
    *,
    free: np.ndarray,
    user: np.ndarray,
    item: np.ndarray,
    time: np.ndarray | None,
) -> np.ndarray:
    """Return which rows are held out, `(N,)` truth values.

    Args:
        how: the split.
        order: `(N,)` a random permutation, which decides between rows that are alike.
        number: how many rows; "leave-last" has one for each user whatever it is.
        free: `(N,)` rows that may be held out, as truth values.
        user: `(N,)` codes.
        item: `(N,)` codes.
        time: `(N,)` times; None without.
    """
    if how == "item-uniform":
        chosen = _evenly(order[free[order]], item, number)
    elif time is not None and how == "temporal":
        latest = order[np.argsort(-time[order], kind="stable")]
        chosen = latest[free[latest]][:number]
    elif time is not None and how == "leave-last":
        latest = order[np.argsort(-time[order], kind="stable")]
        last = latest[np.unique(user[latest], return_index=True)[1]]
        chosen = last[free[last] & (np.bincount(user)[user[last]] > 1)]
    else:
        chosen = order[free[order]][:number]
    found = np.zeros(len(order), dtype=bool)
    found[chosen] = True
    return found


def _evenly(candidates: np.ndarray, item: np.ndarray, number: int) -> np.ndarray:
    """Return positions such that all items have equally many, as far as half of their rows go."""
    by_item = candidates[np.argsort(item[candidates], kind="stable")]
    codes = item[by_item]
    first = np.searchsorted(codes, codes)  # position at which the item's candidates begin
    turn = np.empty(len(item), dtype=np.int64)
    turn[by_item] = np.arange(len(by_item)) - first
    allowed = candidates[turn[candidates] < np.bincount(item)[item[candidates]] // 2]
    return allowed[np.argsort(turn[allowed], kind="stable")][:number]
