"""Weighted sums of the logistic function over the nodes of laws, for many offsets under few laws, block by block."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.distributions.quadrature import BLOCK
from pyro_popbias.distributions.selection import take

Nodes = Callable[[Distribution, Tensor], tuple[Tensor, Tensor]]  # of laws and slopes: shift and weight


def node_sums(law: Distribution, slope: Tensor, offset: Tensor, slot: Tensor, of_law: Nodes, *, nodes: int) -> Tensor:
    """Return sum_n weight_n sigma(offset + shift_n) of each integral, `(B,)`.

    Args:
        law: `(D,)`.
        slope: `(D,)`, of whatever is integrated.
        offset: `(B,)`.
        slot: `(B,)` which law belongs to which offset.
        of_law: from laws and slopes of a block to their shifts and weights, `(d, n)` each.
        nodes: n.
    """
    size, laws = max(1, BLOCK // nodes), len(slope)
    order = torch.argsort(slot)
    starts = torch.arange(0, laws, size, device=slot.device)
    first = torch.searchsorted(slot[order], starts).tolist()
    values = []
    for start, rows in zip(starts.tolist(), torch.tensor_split(order, first[1:]), strict=True):
        some = torch.arange(start, min(start + size, laws), device=slot.device)
        shift, weight = of_law(take(law, some), slope[some])
        for part in rows.split(size):
            at = slot[part] - start
            if len(shift) == 1:
                values.append(torch.sigmoid(offset[part].unsqueeze(-1) + shift) @ weight[0])
            else:
                values.append((torch.sigmoid(offset[part].unsqueeze(-1) + shift[at]) * weight[at]).sum(-1))
    return torch.zeros_like(offset).index_copy(0, order, torch.cat(values))


def groups(group: Tensor, slot: Tensor) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Yield each group's number, the positions of its integrals, the laws that these use, and the slots among those."""
    for number in group.unique().tolist():
        rows = (group == number).nonzero().squeeze(-1)
        yield int(number), rows, *slot[rows].unique(return_inverse=True)
