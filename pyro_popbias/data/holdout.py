"""Rows held out for validation."""

import numpy as np

from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.splits import Split, choose_rows


def hold_out(
    events: Interactions, rows: np.ndarray, share: float, seed: int, *, how: Split = "random"
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of training and of held-out rows, both in random order.

    Every user and every cell with rows keeps at least one training row.

    Args:
        events: the interactions.
        rows: positions to choose from.
        share: fraction of these rows to hold out.
        seed: of the random choice.
        how: which rows are held out.
    """
    order = np.random.default_rng(seed).permutation(rows)
    user, item, time = events.user[order], events.item[order], None if events.time is None else events.time[order]
    free = np.ones(len(order), dtype=bool)
    for codes in (user, events.cell[order]):
        free[_kept(codes, None if how != "leave-last" else time)] = False
    held_out = choose_rows(
        how, np.arange(len(order)), round(share * len(order)), free=free, user=user, item=item, time=time
    )
    return order[~held_out], order[held_out]


def _kept(codes: np.ndarray, time: np.ndarray | None) -> np.ndarray:
    """Return a row of each code: the first, or the earliest."""
    if time is None:
        return np.unique(codes, return_index=True)[1]
    earliest = np.argsort(time, kind="stable")
    return earliest[np.unique(codes[earliest], return_index=True)[1]]
