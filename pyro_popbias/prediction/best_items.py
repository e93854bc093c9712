"""The items of highest score among all, block after block of users."""

from collections.abc import Iterator

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

BLOCK_ELEMENTS = 4_000_000  # of a users x items block


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
    if seen is not None:
        row, column = (torch.from_numpy(part.astype(np.int64)).to(score.device) for part in seen.nonzero())
        score[row, column] = -torch.inf
    best, item = torch.topk(score, k, dim=1)
    return best, item
