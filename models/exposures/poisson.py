"""Counts that are Poisson around their mean: they fix popularity to about one part in the root of the count."""

from typing import final

import torch
from pyro.distributions import Poisson
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.models.exposures.exposure import EXPOSURES, Exposure


@final
@EXPOSURES.register("poisson")
class PoissonExposure(Exposure):
    """n_j | z_j ~ Poisson(mu_j), mu_j = m_t z_j^power / E[z^power].

    E_q log P = n (log m + power E[log z]) - m E[z^power] - log n!, with closed moments of every family of q here.
    """

    def distribution(self, log_mean: Tensor) -> Poisson:
        """Return Poisson(exp(log_mean))."""
        return Poisson(log_mean.exp())

    def expected_log_probability(self, q: Distribution, cell: Tensor) -> Tensor:
        """Return E_q[log P(n_j | z_j)] of some cells, in nats, in closed form."""
        count, log_base = self.count.index_select(0, cell), self.log_base(cell)
        log_power_mean, log_mean_power = self.log_moments(q)
        expected = count * (log_base + log_power_mean) - torch.exp(log_base + log_mean_power)
        return expected - torch.lgamma(count + 1)

    def information(self, cell: Tensor, q: Distribution) -> Tensor:
        """Return power^2 mu of some cells, `(D,)`."""
        return self.log_power.exp().square() * torch.exp(self.log_base(cell) + self.log_moments(q)[1])
