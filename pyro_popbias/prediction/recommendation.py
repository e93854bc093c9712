"""Each user's items of highest score, under the user's own ids."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.id_forms import shown_id
from pyro_popbias.errors import DataError
from pyro_popbias.prediction.candidates import left_out
from pyro_popbias.prediction.pairs import SCORE_COLUMNS, cold_items, score_columns
from pyro_popbias.prediction.scorer import Scorer
from pyro_popbias.prediction.unseen_users import Unseen, distinct_users, with_unseen


def recommend_items(
    scorer: Scorer,
    users: Iterable[Any] | None,
    k: int,
    *,
    seen: sparse.csr_array | None,
    items: Iterable[Any] | None = None,
    exclude: Iterable[Any] | None = None,
    unseen: Unseen = "error",
    p_top_k: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Return user, rank (from 1), item, the columns of `score_columns` and cold of each user's k best items.

    Args:
        scorer: the trained pair, and what to integrate over.
        users: ids; a user listed more than once is answered once, in the place of the first. None is all users.
        k: items per user.
        seen: `(users, items)` what to leave out; None leaves nothing out.
        items: ids of the items that lists may hold; None is all of them.
        exclude: ids of items that no list holds; None excludes none.
        unseen: what to do with users that the fit does not know.
        p_top_k: whether to add the probability of each item to be in the list, as the last column.
        seed: decides the draws that this takes.

    Raises:
        ConfigError: users or items are a single string or a table, or `unseen` is not one of the choices.
        DataError: users are unseen, popularity is a mapping and lacks items, no item is left, or there is one item only.

    Warns:
        DataWarning: some of `items` are unseen, all of `exclude` are, or all items are the same to unseen users.
    """
    catalogue = scorer.catalogue
    refuse_one_item(catalogue)
    scorer = replace(scorer, without=left_out(catalogue, items, exclude))
    ids, codes = distinct_users(catalogue.users, users, unseen)
    table, listed = _lists(scorer, codes[codes >= 0], k, seen)
    if p_top_k:
        table["p_top_k"] = _list_probability(scorer, codes[codes >= 0], listed, k, seen=seen, seed=seed)
    return table if (codes >= 0).all() else with_unseen(table, scorer, ids, codes, k)


def _lists(scorer: Scorer, codes: np.ndarray, k: int, seen: sparse.csr_array | None) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the lists of known users, and their rows `(R, 3)` of user, rank from 0 and item as codes."""
    catalogue, cold = scorer.catalogue, cold_items(scorer.catalogue)
    columns = {"user": str, "rank": int, "item": str, **dict.fromkeys(SCORE_COLUMNS, float), "cold": bool}
    blocks, listed = [pd.DataFrame(columns=list(columns)).astype(columns)], [np.empty((0, 3), dtype=np.int64)]
    for user, item, found in scorer.top(codes, k, seen):
        # users' rows are together
        first = np.flatnonzero(np.diff(user, prepend=-1))
        rank = np.arange(len(user)) - np.repeat(first, np.diff(first, append=len(user)))
        own = {"user": catalogue.users[user], "rank": rank + 1, "item": catalogue.items[item]}
        blocks.append(pd.DataFrame({**own, **score_columns(found), "cold": cold[item]}))
        listed.append(np.stack([user, rank, item], axis=1))
    return pd.concat(blocks[1:] or blocks, ignore_index=True), np.concatenate(listed)


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
