"""The posterior of the intercept, and how popularity, the biases of users and the qualities of items move with it.

The intercept b0 is a point estimate in the programs, and q of popularity is conditional on it. All z move along b0, so that an
interval of z that leaves b0's own uncertainty out is too narrow. `training.linear_response` finds all of these numbers.
"""

from typing import final

import torch
from torch import Tensor, nn

from pyro_popbias.models import AffinityDistribution


@final
class InterceptResponse(nn.Module):
    """Buffers that run folders save; zeros, which add nothing to any interval, until a training has found them.

    Args:
        cells: C, the number of cells.
        users: number of users.
        items: number of items.

    Attributes:
        variance: of b0 in its marginal posterior, a scalar.
        of_cell: `(C,)` d log z / d b0, or d z / d b0 where z is real.
        of_user: `(users,)` d w_u / d b0.
        of_item: `(items,)` d b_i / d b0.
    """

    variance: Tensor
    of_cell: Tensor
    of_user: Tensor
    of_item: Tensor

    def __init__(self, cells: int, users: int, items: int) -> None:
        super().__init__()
        for name, shape in (("variance", ()), ("of_cell", (cells,)), ("of_user", (users,)), ("of_item", (items,))):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    @torch.no_grad()
    def set(self, variance: Tensor, of_cell: Tensor, of_user: Tensor, of_item: Tensor) -> None:
        """Set all four."""
        values = {"variance": variance, "of_cell": of_cell, "of_user": of_user, "of_item": of_item}
        for name, value in values.items():
            getattr(self, name).copy_(value)

    def widened(self, affinity: AffinityDistribution, user: Tensor, item: Tensor) -> AffinityDistribution:
        """Return the distribution of affinities with the intercept's uncertainty in it.

        Args:
            affinity: `(B,)` at the estimate of the intercept.
            user: `(B,)` codes; -1 is an unseen user, whose bias does not respond.
            item: `(B,)` codes; -1 is an unseen item, whose quality does not respond.
        """
        if not float(self.variance):
            return affinity
        of_user, of_item = (
            part.index_select(0, code.clamp(min=0)) * (code >= 0)
            for part, code in ((self.of_user, user), (self.of_item, item))
        )
        added = self.variance * (1 + of_user + of_item).square()
        return affinity.widened(added)
