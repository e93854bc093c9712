"""Rows held out for validation."""

import numpy as np

from pyro_popbias.data.interactions import Interactions


def hold_out(events: Interactions, rows: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of training and of held-out rows, both in random order.

    Every user and every cell with rows keeps at least one training row.

    Args:
        events: the interactions.
        rows: positions to choose from.
        share: fraction of these rows to hold out.
        seed: of the random choice.
    """
    order = np.random.default_rng(seed).permutation(rows)
    free = np.ones(len(order), dtype=bool)
    for codes in (events.user, events.cell):
        free[np.unique(codes[order], return_index=True)[1]] = False
    candidates = np.flatnonzero(free)[: round(share * len(order))]
    held_out = np.zeros(len(order), dtype=bool)
    held_out[candidates] = True
    return order[~held_out], order[held_out]
