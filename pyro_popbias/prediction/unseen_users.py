"""Lists of users that a fit does not know: all have that of a user of whom nothing is known."""

import warnings
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from pyro_popbias.data.ids import as_text, column_of
from pyro_popbias.errors import ConfigError, DataError, DataWarning
from pyro_popbias.prediction.pairs import UNSEEN, cold_items, score_columns
from pyro_popbias.prediction.scorer import Scorer
from pyro_popbias.registry import nearest

Unseen = Literal["error", "prior", "drop"]


def distinct_users(
    known: "pd.Index[str]", users: Iterable[Any] | None, unseen: Unseen
) -> "tuple[pd.Index[str], np.ndarray]":
    """Return distinct users, in the order in which they first appear, and their codes; -1 is an unseen one.

    Args:
        known: ids by code.
        users: ids; None is all users.
        unseen: what to do with ids that are not known: refuse them, keep them, or drop them.

    Raises:
        ConfigError: they are a single string or a table, or `unseen` is not one of the choices.
        DataError: they are unseen and refused, or cannot be used as ids.
    """
    if unseen not in UNSEEN:
        raise ConfigError(f"PB-C531: unseen={unseen!r}{nearest(str(unseen), UNSEEN)} Choices: {', '.join(UNSEEN)}")
    if users is None:
        return known, np.arange(len(known))
    if isinstance(users, str):
        raise ConfigError(f"PB-C015: users={users!r} is a single string; pass a list of ids")
    if isinstance(users, pd.DataFrame):
        raise ConfigError("PB-C015: users is a table; pass its column of ids, such as table['user']")
    listed = list(users)
    if not listed:
        return known[:0], np.arange(0)
    ids = pd.Index(as_text(column_of(listed), "users")).unique()
    codes = np.asarray(known.get_indexer(ids))
    unknown = ids[codes < 0]
    if unseen == "error" and len(unknown):
        raise DataError(
            f"PB-D048: {len(unknown)} unseen users, first {', '.join(unknown[:5])}; unseen='prior' (--unseen prior on the "
            "command line) gives them the list of a user of whom nothing is known, unseen='drop' (--unseen drop) leaves them out"
        )
    return (ids[codes >= 0], codes[codes >= 0]) if unseen == "drop" else (ids, codes)


def with_unseen(lists: pd.DataFrame, scorer: Scorer, ids: "pd.Index[str]", codes: np.ndarray, k: int) -> pd.DataFrame:
    """Return lists with those of unseen users among them, in the order of the users.

    Args:
        lists: of the known users, as of `recommend_items`.
        scorer: the trained pair, and what to integrate over.
        ids: `(U,)` users.
        codes: `(U,)` their codes; -1 is an unseen one.
        k: items per user.

    Warns:
        DataWarning: all items are the same to such a user.
    """
    unknown = ids[codes < 0]
    one = _list_of_nobody(scorer, k)
    places = np.tile(np.arange(len(one)), len(unknown))
    cold = one.iloc[places].assign(user=np.repeat(unknown.to_numpy(), len(one)))
    table = pd.concat([lists, cold[[name for name in lists.columns if name in cold]]], ignore_index=True)
    place = pd.Series(np.arange(len(ids)), index=ids)
    return table.iloc[np.argsort(place.loc[table["user"]].to_numpy(), kind="stable")].reset_index(drop=True)


@torch.no_grad()
def _list_of_nobody(scorer: Scorer, k: int) -> pd.DataFrame:
    """Return the list of a user of whom nothing is known: rank, item, the columns of scores, cold."""
    catalogue = scorer.catalogue
    item = scorer.tensor(np.arange(len(catalogue.items)))
    user = torch.full_like(item, -1)
    affinity = scorer.model.pairs(user, item, None, scorer.guide.weights())
    found = scorer.scores_with_interval(affinity, user, item, given=scorer.given(catalogue.items))
    score = found.score.cpu().numpy().copy()
    if len(score) > 1 and np.ptp(score) == 0:
        warnings.warn(
            "PB-D508: to users of whom nothing is known all items are the same here, so the order of their lists means nothing; "
            "popularity='posterior' orders items by their own popularity, and a fit with item_quality = true by their quality",
            DataWarning,
            stacklevel=5,
        )
    if scorer.without is not None:
        score[scorer.without] = -np.inf
    best = np.argsort(-score, kind="stable")[:k]
    best = best[score[best] > -np.inf]
    columns = score_columns(found.at(scorer.tensor(best)))
    shown = {
        "rank": np.arange(len(best)) + 1,
        "item": catalogue.items[best],
        **columns,
        "cold": cold_items(catalogue)[best],
    }
    return pd.DataFrame(shown)
