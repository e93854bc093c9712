"""The posterior of the intercept, and how popularity and the biases of users move with it.

The intercept b0 is a point estimate in the programs, and q of popularity is conditional on it. All z move along b0, so that an
interval of z that leaves b0's own uncertainty out is too narrow. `training.linear_response` finds all three numbers.
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

    Attributes:
        variance: of b0 in its marginal posterior, a scalar.
        of_cell: `(C,)` d log z / d b0, or d z / d b0 where z is real.
        of_user: `(users,)` d w_u / d b0.
    """

    variance: Tensor
    of_cell: Tensor
    of_user: Tensor

    def __init__(self, cells: int, users: int) -> None:
        super().__init__()
        for name, shape in (("variance", ()), ("of_cell", (cells,)), ("of_user", (users,))):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    @torch.no_grad()
    def set(self, variance: Tensor, of_cell: Tensor, of_user: Tensor) -> None:
        """Set all three."""
        for name, value in (("variance", variance), ("of_cell", of_cell), ("of_user", of_user)):
            getattr(self, name).copy_(value)

    def widened(self, affinity: AffinityDistribution, user: Tensor) -> AffinityDistribution:
        """Return the distribution of affinities with the intercept's uncertainty in it.

        Args:
            affinity: `(U, ...)` at the estimate of the intercept.
            user: `(U,)` codes; -1 is an unseen user, whose bias does not respond.
        """
        if not float(self.variance):
            return affinity
        response = 1 + self.of_user.index_select(0, user.clamp(min=0)) * (user >= 0)
        added = (self.variance * response.square()).reshape(-1, *[1] * (affinity.mean.dim() - 1))
        before = torch.zeros_like(affinity.mean) if affinity.variance is None else affinity.variance
        return AffinityDistribution(affinity.mean, before + added)
