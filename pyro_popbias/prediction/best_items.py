"""The items of highest score among all, block after block of users. Of equal scores the item of the lower code comes first."""

from collections.abc import Iterator
from math import isqrt

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

BLOCK_ELEMENTS = 8_000_000  # of a users x items block
LEAST_GROUP, MOST_GROUP = 4, 12  # columns in a group: below, looking for the best groups first saves nothing


def user_blocks(users: np.ndarray, items: int) -> Iterator[np.ndarray]:
    """Yield users in blocks whose scores of all items fit in memory.

    Args:
        users: `(U,)` codes.
        items: K.
    """
    size = max(1, BLOCK_ELEMENTS // items)
    for start in range(0, len(users), size):
        yield users[start : start + size]


def best_items(score: Tensor, k: int, seen: sparse.csr_array | None) -> tuple[Tensor, Tensor]:
    """Return the highest scores of each row and their columns, `(U, k)` each; what is seen has a score of -inf.

    Args:
        score: `(U, K)`; it is changed.
        k: at most K.
        seen: `(U, K)` what to leave out.
    """
    leave_out(score, seen)
    best, column = largest(score, min(k + 1, score.shape[1]))
    best, column = best[:, :k], (_lowest_of_ties(score, best, column, k) if best.shape[1] > k else column)
    # the order of equal scores within a list
    column = column.sort(dim=1).values
    best, place = score.gather(1, column).sort(dim=1, descending=True, stable=True)
    return best, column.gather(1, place)


def leave_out(score: Tensor, seen: sparse.csr_array | None) -> None:
    """Set scores of what is seen to -inf.

    Args:
        score: `(U, K)`; it is changed.
        seen: `(U, K)` what to leave out; None leaves nothing out.
    """
    if seen is not None:
        row, column = (torch.from_numpy(part.astype(np.int64)).to(score.device) for part in seen.nonzero())
        score[row, column] = -torch.inf


def largest(score: Tensor, k: int, *, falling: bool = True) -> tuple[Tensor, Tensor]:
    """Return the k largest numbers of each row and their columns, `(U, k)` each.

    Columns are dealt into groups. The k largest numbers lie in the k groups of the largest maxima, and these maxima take one
    pass that runs along the rows.

    Args:
        score: `(U, K)`.
        k: at most K.
        falling: whether they must be in order.
    """
    size = min(isqrt(score.shape[1] // k), MOST_GROUP)
    if size < LEAST_GROUP:
        return torch.topk(score, k, dim=1, sorted=falling)
    groups = score.shape[1] // size
    whole = size * groups
    top = torch.topk(score[:, :whole].unflatten(1, (size, groups)).amax(1), k, dim=1, sorted=False).indices
    member = torch.arange(0, whole, groups, device=score.device)
    left = torch.arange(whole, score.shape[1], device=score.device).expand(len(score), -1)
    column = torch.cat([(top.unsqueeze(1) + member.unsqueeze(1)).flatten(1), left], dim=1)
    best, place = torch.topk(score.gather(1, column), k, dim=1, sorted=falling)
    return best, column.gather(1, place)


def _lowest_of_ties(score: Tensor, best: Tensor, column: Tensor, k: int) -> Tensor:
    """Return the columns of the k best of each row, `(U, k)`; of those equal to the last one the lowest.

    Args:
        score: `(U, K)`.
        best: `(U, k + 1)` the largest numbers, falling.
        column: `(U, k + 1)` where they are.
        k: below K.
    """
    column = column[:, :k].contiguous()
    last = best[:, k - 1 : k]
    tied = ((best[:, k:] == last) & (last > -torch.inf)).squeeze(1).nonzero().squeeze(1)
    if len(tied):
        of_row, last = score.index_select(0, tied), last.index_select(0, tied)
        above, equal = of_row > last, of_row == last
        kept = above | (equal & (equal.cumsum(1) <= k - above.sum(1, keepdim=True)))
        column[tied] = kept.nonzero()[:, 1].reshape(-1, k)
    return column
