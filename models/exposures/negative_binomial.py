"""Counts that spread more than Poisson's: what moves them besides popularity is a Gamma factor of each cell."""

from typing import Any, Self, final

import torch
from pyro.distributions import NegativeBinomial
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.distributions.softplus_power import expected_softplus
from pyro_popbias.models.exposures.exposure import EXPOSURES, Exposure, ExposureConfig
from pyro_popbias.validation import Positive


class NegativeBinomialExposureConfig(ExposureConfig):
    """The section of a negative binomial exposure: power, and the dispersion r.

    Counts are off by a factor of standard deviation 1 / sqrt(r) for other reasons than popularity; 10 stands for a third.
    """

    dispersion: Positive = 10.0


@final
@EXPOSURES.register("negative-binomial")
class NegativeBinomialExposure(Exposure):
    """n_j | z_j ~ NegativeBinomial with mean mu_j = m_t z_j^power / E[z^power] and variance mu_j + mu_j^2 / r.

    The dispersion r says how far counts are evidence of popularity at all: as r goes to 0 the model without counts is back,
    and Poisson's as it goes to infinity. E_q log P needs E_q log(1 + mu / r), see `distributions.softplus_power`. The
    dispersion is not learned: labels see 1 / r in one sum with the variance of qualities, and an ELBO of independent q's
    grows with r whatever the truth.

    Args:
        count: `(C,)` training rows of each cell.
        periods: T.
        dispersion: r > 0.
        others: as of `Exposure`.
    """

    config = NegativeBinomialExposureConfig
    log_dispersion: Tensor

    def __init__(self, count: Tensor, periods: int, *, dispersion: float, **others: Any) -> None:
        super().__init__(count, periods, **others)
        self.register_buffer("log_dispersion", torch.tensor(dispersion, dtype=torch.float64).log())

    @classmethod
    def from_config(cls, config: Any, count: Tensor, periods: int, *, real: bool, free_level: bool = False) -> Self:
        """Return the exposure that a section declares, at its start."""
        own = {"power": config.power, "real": real, "free_level": free_level}
        return cls(count, periods, dispersion=config.dispersion, **own)

    def distribution(self, log_mean: Tensor) -> NegativeBinomial:
        """Return the distribution of mean exp(log_mean) and dispersion r."""
        return NegativeBinomial(self.log_dispersion.exp(), logits=log_mean - self.log_dispersion)

    def expected_log_probability(self, q: Distribution, cell: Tensor) -> Tensor:
        """Return E_q[log P(n_j | z_j)] of some cells, in nats: closed but for one integral, of log(1 + mu / r)."""
        count, r = self.count.index_select(0, cell), self.log_dispersion.exp()
        log_odds = self.log_base(cell) - self.log_dispersion  # of mu and r at z = 1
        beyond = expected_softplus(self.on_positive(q), log_odds, self.log_power.exp())
        constant = torch.lgamma(count + r) - torch.lgamma(r) - torch.lgamma(count + 1)
        return constant + count * (log_odds + self.log_moments(q)[0]) - (count + r) * beyond

    def information(self, cell: Tensor, q: Distribution) -> Tensor:
        """Return power^2 mu r / (mu + r) of some cells, `(D,)`."""
        mean, r = torch.exp(self.log_base(cell) + self.log_moments(q)[1]), self.log_dispersion.exp()
        return self.log_power.exp().square() * mean * r / (mean + r)
