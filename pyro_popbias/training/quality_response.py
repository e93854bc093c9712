"""What the marginal posteriors of an item's quality and popularity have beyond the ones that q draws independently.

With the precisions P_b of b_i and P_t of log z in each of its cells, all others known, and p_t what labels say about both:

    V_b = 1 / (P_b - sum over t of p_t^2 / P_t)        V_t = 1 / P_t + (p_t / P_t)^2 V_b

are the marginal variances of this block of a Normal (Schur's complement). q has 1 / P_b and 1 / P_t.
"""

import torch
from torch import Tensor

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.training.information import JointInformation


def marginal_variance(of_item: Tensor, of_cell: Tensor, both: Tensor) -> Tensor:
    """Return V_b of each item, `(K,)`.

    Args:
        of_item: `(K,)` 1 / P_b.
        of_cell: `(C,)` 1 / P_t.
        both: `(C,)` p_t.
    """
    shared = (both.square() * of_cell).reshape(len(of_item), -1).sum(1)
    left = 1 / of_item - shared
    return torch.where(left > 0, 1 / left, of_item)


def find_quality_response(pair: Pair, information: JointInformation) -> None:
    """Find what is missing of the variances of qualities and popularities, and give it to a pair's guide.

    Args:
        pair: a trained pair.
        information: its own.
    """
    if pair.model.affinity.item_quality is None:
        return
    cells, first_item = information.cells, information.cells + information.users
    of_cell, of_item = information.variance[:cells], information.variance[first_item:]
    both = information.border[:cells, 0]
    whole = marginal_variance(of_item, of_cell, both)
    added = (both * of_cell).square() * whole.repeat_interleave(cells // len(of_item))
    pair.guide.quality.set(whole - of_item, added)
