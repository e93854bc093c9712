"""Weighted sums of the logistic function over quadrature nodes, for many offsets under few distributions, in blocks."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.distributions.quadrature import BLOCK
from pyro_popbias.distributions.selection import take

Nodes = Callable[[Distribution, Tensor], tuple[Tensor, Tensor]]  # maps distributions and slopes to shifts and weights


def node_sums(
    distribution: Distribution, slope: Tensor, offset: Tensor, cell_index: Tensor, of_distribution: Nodes, *, nodes: int
) -> Tensor:
    """Return sum_n weight_n sigma(offset + shift_n) of each integral, `(B,)`.

    Args:
        distribution: `(D,)` distributions of z.
        slope: `(D,)` slope for each distribution.
        offset: `(B,)` offset of each integral.
        cell_index: `(B,)` index of each offset's distribution.
        of_distribution: maps the distributions and slopes of a block to their shifts and weights, `(d, n)` each.
        nodes: number of nodes n.
    """
    size, distributions = max(1, BLOCK // nodes), len(slope)
    order = torch.argsort(cell_index)
    starts = torch.arange(0, distributions, size, device=cell_index.device)
    first = torch.searchsorted(cell_index[order], starts).tolist()
    values = []
    for start, rows in zip(starts.tolist(), torch.tensor_split(order, first[1:]), strict=True):
        some = torch.arange(start, min(start + size, distributions), device=cell_index.device)
        shift, weight = of_distribution(take(distribution, some), slope[some])
        for part in rows.split(size):
            at = cell_index[part] - start
            if len(shift) == 1:
                values.append(torch.sigmoid(offset[part].unsqueeze(-1) + shift) @ weight[0])
            else:
                values.append((torch.sigmoid(offset[part].unsqueeze(-1) + shift[at]) * weight[at]).sum(-1))
    return torch.zeros_like(offset).index_copy(0, order, torch.cat(values))


def groups(group: Tensor, cell_index: Tensor) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Yield for each group its number, the positions of its integrals, the distributions used, and indices into these."""
    for number in group.unique().tolist():
        rows = (group == number).nonzero().squeeze(-1)
        yield int(number), rows, *cell_index[rows].unique(return_inverse=True)
