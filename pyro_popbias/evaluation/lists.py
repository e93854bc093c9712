"""Each user's list of best items, and which of them are relevant."""

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from pyro_popbias.prediction.best_items import best_items, user_blocks

NOTHING = -1  # the item code of a place that no item fills


def top_lists(
    score: Callable[[np.ndarray], Tensor],
    users: np.ndarray,
    k: int,
    *,
    items: int,
    seen: sparse.csr_array | None = None,
) -> np.ndarray:
    """Return the items of highest score of each user, best first, `(U, k)` codes; `NOTHING` where there are no more.

    Items of equal score are in an order that a seed draws, whether or not all of them have a place: codes are in the order
    of ids, which may well go with time or popularity.

    Args:
        score: from user codes `(n,)` to the scores of all items, `(n, K)`; it may be changed.
        users: `(U,)` codes.
        k: length of the lists.
        items: K.
        seen: `(users, items)` what to leave out.
    """
    return lists_and_ties(score, users, k, items=items, seen=seen)[0]


def lists_and_ties(
    score: Callable[[np.ndarray], Tensor],
    users: np.ndarray,
    k: int,
    *,
    items: int,
    seen: sparse.csr_array | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `top_lists` does, and in whose lists chance decides on items or places, `(U,)` truth values."""
    k = min(k, items)
    found, ties = [np.empty((0, k), dtype=np.int64)], [np.empty(0, dtype=bool)]
    generator = torch.Generator().manual_seed(0)
    for block in user_blocks(users, items):
        scores = score(block)
        best, item = best_items(scores, k, None if seen is None else seen[block])
        last = best[:, -1:]
        tied = ((scores >= last).sum(1) > k) & (last > -torch.inf).squeeze(1)
        if tied.any():
            item[tied] = _drawn(scores[tied], best[tied], item[tied], generator)
        alike = ((best[:, 1:] == best[:, :-1]) & (best[:, 1:] > -torch.inf)).any(1)
        if alike.any():
            item[alike] = _shuffled(best[alike], item[alike], generator)
        found.append(torch.where(best > -torch.inf, item, NOTHING).cpu().numpy())
        ties.append((tied | alike).cpu().numpy())
    return np.concatenate(found), np.concatenate(ties)


def _drawn(score: Tensor, best: Tensor, item: Tensor, generator: torch.Generator) -> Tensor:
    """Return lists whose last places, of items of equal score, are drawn among all items of this score, `(n, k)`."""
    last, k = best[:, -1:], best.shape[1]
    chance = torch.rand(score.shape, generator=generator).to(score.device)
    drawn = torch.where(score == last, chance, -1.0).topk(k, dim=1).indices
    place = torch.arange(k, device=score.device) - (best > last).sum(1, keepdim=True)
    return torch.where(place < 0, item, drawn.gather(1, place.clamp(min=0)))


def _shuffled(best: Tensor, item: Tensor, generator: torch.Generator) -> Tensor:
    """Return lists in which the places of equal scores have changed by chance, `(n, k)`."""
    order = torch.rand(best.shape, generator=generator).to(best.device).argsort(dim=1)
    place = best.gather(1, order).argsort(dim=1, descending=True, stable=True)
    return item.gather(1, order).gather(1, place)


def lists_of_rows(user: np.ndarray, item: np.ndarray, score: np.ndarray, users: np.ndarray, k: int) -> np.ndarray:
    """Return the items of highest score among each user's own rows, as `top_lists` does; ties in the order of a seed.

    An item is listed once, however many rows a user has of it. Lists are no longer than the longest.

    Args:
        user: `(N,)` codes.
        item: `(N,)` codes.
        score: `(N,)`.
        users: `(U,)` codes whose lists are asked for, ascending.
        k: length of the lists.
    """
    chance = np.random.default_rng(0).permutation(len(user))
    order = np.lexsort((chance, -score, user))
    pair = user[order] * np.int64(item.max() + 1) + item[order]  # codes are int32, whose products overflow
    order = order[np.sort(np.unique(pair, return_index=True)[1])]
    order = order[np.isin(user[order], users)]
    row = np.searchsorted(users, user[order])
    rank = np.arange(len(order)) - np.searchsorted(row, row)
    k = min(k, rank.max(initial=0) + 1)
    found = np.full((len(users), k), NOTHING, dtype=np.int64)
    inside = rank < k
    found[row[inside], rank[inside]] = item[order[inside]]
    return found


def hits_of(lists: np.ndarray, users: np.ndarray, relevant: sparse.csr_array) -> np.ndarray:
    """Return which places of lists hold a relevant item, `(U, k)` truth values.

    Args:
        lists: `(U, k)` item codes.
        users: `(U,)` codes.
        relevant: `(users, items)` truth values.
    """
    wanted = relevant[users].tocoo()
    items = relevant.shape[1]
    keys = np.arange(len(users))[:, None] * items + lists
    return np.isin(keys, wanted.row.astype(np.int64) * items + wanted.col) & (lists != NOTHING)
