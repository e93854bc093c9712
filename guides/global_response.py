"""The joint posterior of the numbers that all cells, users and items share: intercept, slope, concentration, weights of features.

The programs learn some of these as points, and draw the others independently of popularity, with the spread that each has where
all cells are known. Their marginal posteriors are wider: cells move along with them. `training.global_response` finds the whole
covariance.
"""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.distributions import Normal


def weight_name(site: str, position: int) -> str:
    """Return the name of one weight of a site."""
    return f"{site}[{position}]"


@final
class GlobalResponse(nn.Module):
    """A buffer that run folders save; zeros, which say nothing, until a training has found it.

    Args:
        names: of the G numbers: parameters of the model, on the scale on which they are learned, and single weights of sites.

    Attributes:
        covariance: `(G, G)` of their joint posterior.
    """

    covariance: Tensor

    def __init__(self, names: Sequence[str] = ()) -> None:
        super().__init__()
        self.names = tuple(names)
        self.register_buffer("covariance", torch.zeros(len(self.names), len(self.names), dtype=torch.float64))

    @torch.no_grad()
    def set(self, names: Sequence[str], covariance: Tensor) -> None:
        """Set the covariance of some of the numbers, `(n, n)`; the others' stays unknown."""
        place = torch.tensor([self.names.index(name) for name in names], device=covariance.device)
        self.covariance.zero_()
        self.covariance[place.unsqueeze(1), place] = covariance.to(self.covariance)

    def variance(self, name: str) -> float:
        """Return the marginal variance of a number; 0 where it is not known."""
        return float(self.covariance[self.names.index(name), self.names.index(name)]) if name in self.names else 0.0

    def correlation(self, one: str, other: str) -> float:
        """Return the correlation of two numbers whose variances are known."""
        place = [self.names.index(name) for name in (one, other)]
        block = self.covariance[place][:, place]
        return float(block[0, 1] / block.diagonal().prod().sqrt())

    def widened(self, site: str, q: Normal) -> Normal:
        """Return the marginal posterior of a site's weights, `(n,)`; q itself where it is not known."""
        variance = [self.variance(weight_name(site, position)) for position in range(len(q.loc))]
        if not all(variance):
            return q
        return Normal(q.loc, torch.tensor(variance).sqrt().to(q.scale), validate_args=False)
