"""Each user's items of highest score, under the user's own ids."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from pyro_popbias.data.ids import as_text
from pyro_popbias.errors import ConfigError, DataError
from pyro_popbias.prediction.pairs import SCORE_COLUMNS, score_columns
from pyro_popbias.prediction.scorer import Scorer


def recommend_items(
    scorer: Scorer, users: Iterable[Any] | None, k: int, *, seen: sparse.csr_array | None
) -> pd.DataFrame:
    """Return user, rank (from 1), item and the columns of `score_columns` of each user's k best items.

    Args:
        scorer: the trained pair, and what to integrate over.
        users: ids; a user listed more than once is answered once, in the place of the first. None is all users.
        k: items per user.
        seen: `(users, items)` what to leave out; None leaves nothing out.

    Raises:
        ConfigError: users are a single string or a table.
        DataError: users are unseen, or popularity is a mapping and lacks items.
    """
    catalogue = scorer.catalogue
    columns = {"user": str, "rank": int, "item": str, **dict.fromkeys(SCORE_COLUMNS, float)}
    blocks = [pd.DataFrame(columns=list(columns)).astype(columns)]
    for user, item, found in scorer.top(user_codes(catalogue.users, users), k, seen):
        # users' rows are together
        first = np.flatnonzero(np.diff(user, prepend=-1))
        rank = np.arange(len(user)) - np.repeat(first, np.diff(first, append=len(user))) + 1
        own = {"user": catalogue.users[user], "rank": rank, "item": catalogue.items[item]}
        blocks.append(pd.DataFrame({**own, **score_columns(found)}))
    return pd.concat(blocks[1:] or blocks, ignore_index=True)


def user_codes(known: "pd.Index[str]", users: Iterable[Any] | None) -> np.ndarray:
    """Return the codes of distinct users, in the order in which they first appear.

    Args:
        known: ids by code.
        users: ids; None is all users.

    Raises:
        ConfigError: they are a single string or a table.
        DataError: they are unseen, or cannot be used as ids.
    """
    if users is None:
        return np.arange(len(known))
    if isinstance(users, str):
        raise ConfigError(f"PB-C015: users={users!r} is a single string; pass a list of ids")
    if isinstance(users, pd.DataFrame):
        raise ConfigError("PB-C015: users is a table; pass its column of ids, such as table['user']")
    listed = list(users)
    if not listed:
        return np.arange(0)
    ids = pd.Index(as_text(pd.Series(listed), "users")).unique()
    codes = known.get_indexer(ids)
    if (codes < 0).any():
        unknown = ids[codes < 0]
        raise DataError(f"PB-D048: {len(unknown)} unseen users, first {', '.join(unknown[:5])}; leave them out")
    return np.asarray(codes)
