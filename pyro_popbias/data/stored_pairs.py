"""Which items each user of a log on disk has a row of, found block by block."""

import numpy as np
from scipy import sparse

from pyro_popbias.data.stored_log import StoredLog

BLOCK = 262_144  # rows


def pairs_of(log: StoredLog, shape: tuple[int, int], *, size: int = BLOCK) -> sparse.csr_array:
    """Return which items each user has a row of, as truth values; 5 bytes a row of the log, and nothing beside them.

    Args:
        log: the log.
        shape: users and items.
        size: rows of a block.

    Raises:
        CorruptCheckpointError: the rows are not what was read.
    """
    log.require_whole()
    first = np.zeros(shape[0] + 1, dtype=np.int64)
    np.cumsum(log.user_count, out=first[1:])
    item, free = np.empty(log.rows, dtype=np.int32), first[:-1].copy()
    for rows in log.blocks(size):
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        user, begin, count = np.unique(rows[:, 0], return_index=True, return_counts=True)
        item[free[rows[:, 0]] + np.arange(len(rows)) - np.repeat(begin, count)] = rows[:, 1]
        free[user] += count
    found = sparse.csr_array((np.ones(log.rows, dtype=bool), item, first), shape=shape)
    found.sum_duplicates()
    return found
