"""Each user's items of highest score, under the user's own ids."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.id_forms import shown_id
from pyro_popbias.data.ids import as_text, column_of
from pyro_popbias.errors import ConfigError, DataError
from pyro_popbias.prediction.pairs import SCORE_COLUMNS, cold_items, score_columns
from pyro_popbias.prediction.scorer import Scorer


def recommend_items(
    scorer: Scorer,
    users: Iterable[Any] | None,
    k: int,
    *,
    seen: sparse.csr_array | None,
    p_top_k: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Return user, rank (from 1), item, the columns of `score_columns` and cold of each user's k best items.

    Args:
        scorer: the trained pair, and what to integrate over.
        users: ids; a user listed more than once is answered once, in the place of the first. None is all users.
        k: items per user.
        seen: `(users, items)` what to leave out; None leaves nothing out.
        p_top_k: whether to add the probability of each item to be in the list, as the last column.
        seed: decides the draws that this takes.

    Raises:
        ConfigError: users are a single string or a table.
        DataError: users are unseen, popularity is a mapping and lacks items, or there is one item only.
    """
    catalogue = scorer.catalogue
    refuse_one_item(catalogue)
    columns = {"user": str, "rank": int, "item": str, **dict.fromkeys(SCORE_COLUMNS, float), "cold": bool}
    blocks, listed = [pd.DataFrame(columns=list(columns)).astype(columns)], [np.empty((0, 3), dtype=np.int64)]
    codes, cold = user_codes(catalogue.users, users), cold_items(catalogue)
    for user, item, found in scorer.top(codes, k, seen):
        # users' rows are together
        first = np.flatnonzero(np.diff(user, prepend=-1))
        rank = np.arange(len(user)) - np.repeat(first, np.diff(first, append=len(user)))
        own = {"user": catalogue.users[user], "rank": rank + 1, "item": catalogue.items[item]}
        blocks.append(pd.DataFrame({**own, **score_columns(found), "cold": cold[item]}))
        listed.append(np.stack([user, rank, item], axis=1))
    table = pd.concat(blocks[1:] or blocks, ignore_index=True)
    if p_top_k:
        table["p_top_k"] = _list_probability(scorer, codes, np.concatenate(listed), k, seen=seen, seed=seed)
    return table


def _list_probability(
    scorer: Scorer, codes: np.ndarray, listed: np.ndarray, k: int, *, seen: sparse.csr_array | None, seed: int
) -> np.ndarray:
    """Return the probability of rows `(R, 3)` of user, rank from 0 and item to be in their lists, `(R,)`."""
    user, rank, item = listed.T
    row = pd.Index(codes).get_indexer(pd.Index(user))
    lists = np.zeros((len(codes), rank.max(initial=-1) + 1), dtype=np.int64)
    lists[row, rank] = item
    return np.asarray(scorer.list_probability(codes, lists, k, seen, seed=seed)[row, rank])


def refuse_one_item(catalogue: Catalogue) -> None:
    """Refuse to rank a catalogue of one item.

    Raises:
        DataError: there is no other.
    """
    if len(catalogue.items) == 1:
        raise DataError(
            f"PB-D466: the fit knows one item, {shown_id(catalogue.items[0])}, and a ranking of one says nothing; fit several "
            "items, or use predict"
        )


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
    ids = pd.Index(as_text(column_of(listed), "users")).unique()
    codes = known.get_indexer(ids)
    if (codes < 0).any():
        unknown = ids[codes < 0]
        raise DataError(f"PB-D048: {len(unknown)} unseen users, first {', '.join(unknown[:5])}; leave them out")
    return np.asarray(codes)
