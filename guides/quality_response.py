"""How far the quality of an item and its popularity move together, beyond what their separate posteriors say.

Labels fix the sum of both, and counts popularity, so that in the joint posterior one falls where the other grows. The
guide draws them independently, with the spread that each has where the other is known. `training.quality_response` finds
what their marginal posteriors have beyond that.
"""

from typing import final

import torch
from torch import Tensor, nn

from pyro_popbias.models import AffinityDistribution


@final
class QualityResponse(nn.Module):
    """Buffers that run folders save; zeros, which add nothing to any interval, until a training has found them.

    Args:
        cells: C, the number of cells.
        items: K.

    Attributes:
        of_item: `(K,)` variance of b_i that its own q leaves out.
        of_cell: `(C,)` variance of log z, or of z where it is real, that its own q leaves out.
    """

    of_item: Tensor
    of_cell: Tensor

    def __init__(self, cells: int, items: int) -> None:
        super().__init__()
        self.register_buffer("of_item", torch.zeros(items, dtype=torch.float64))
        self.register_buffer("of_cell", torch.zeros(cells, dtype=torch.float64))

    @torch.no_grad()
    def set(self, of_item: Tensor, of_cell: Tensor) -> None:
        """Set both."""
        self.of_item.copy_(of_item)
        self.of_cell.copy_(of_cell)

    def widened(self, affinity: AffinityDistribution, item: Tensor) -> AffinityDistribution:
        """Return the distribution of affinities with the whole uncertainty of their items' qualities in it.

        Args:
            affinity: `(B,)` logits.
            item: `(B,)` codes; -1 is an unseen item, whose quality has its prior.
        """
        if not bool((self.of_item > 0).any()):
            return affinity
        added = self.of_item.index_select(0, item.clamp(min=0)) * (item >= 0)
        return affinity.widened(added)
