"""Counts that spread more than Poisson's: what moves them besides popularity is a Gamma factor of each cell."""

import math
from typing import Any, Self, final

import torch
from pyro.distributions import NegativeBinomial
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.distributions.normal_density import log_normal
from pyro_popbias.distributions.quadrature import TAIL, grid
from pyro_popbias.models.exposures.exposure import EXPOSURES, Exposure, ExposureConfig
from pyro_popbias.validation import Learnable

START_DISPERSION = 10.0
NODES = 48  # of the rule over log z


class NegativeBinomialExposureConfig(ExposureConfig):
    """The section of a negative binomial exposure: power, and the dispersion r, each a number or "learned"."""

    dispersion: Learnable = "learned"


@final
@EXPOSURES.register("negative-binomial")
class NegativeBinomialExposure(Exposure):
    """n_j | z_j ~ NegativeBinomial with mean mu_j = exp(level) m_t z_j^power and variance mu_j + mu_j^2 / r.

    The dispersion r says how far counts are evidence of popularity at all: as r goes to 0 the model without counts is back, and
    Poisson's as it goes to infinity. E_q log P needs E_q log(1 + mu / r), by quadrature over log z.

    Args:
        count: `(C,)` training rows of each cell.
        periods: T.
        power: of z in the mean; None learns it.
        real: whether z is real, and exp(z) stands in its place.
        dispersion: r > 0; None learns it, with the prior log r ~ Normal(log 10, 1).
    """

    config = NegativeBinomialExposureConfig
    log_dispersion: Tensor

    def __init__(
        self,
        count: Tensor,
        periods: int,
        *,
        power: float | None = None,
        real: bool = False,
        dispersion: float | None = None,
    ) -> None:
        super().__init__(count, periods, power=power, real=real)
        start = torch.tensor(math.log(dispersion or START_DISPERSION), dtype=torch.float64)
        self.disperses = dispersion is None
        if self.disperses:
            self.log_dispersion = PyroParam(start, constraints.real)  # type: ignore[assignment]  # read back as a tensor
        else:
            self.register_buffer("log_dispersion", start)

    @classmethod
    def from_config(cls, config: Any, count: Tensor, periods: int, *, real: bool) -> Self:
        """Return the exposure that a section declares, at its start."""
        power, dispersion = (
            None if value == "learned" else float(value) for value in (config.power, config.dispersion)
        )
        return cls(count, periods, power=power, real=real, dispersion=dispersion)

    def distribution(self, log_mean: Tensor) -> NegativeBinomial:
        """Return the distribution of mean exp(log_mean) and dispersion r."""
        return NegativeBinomial(self.log_dispersion.exp(), logits=log_mean - self.log_dispersion)

    def expected_log_probability(self, q: Distribution, cell: Tensor) -> Tensor:
        """Return E_q[log P(n_j | z_j)] of some cells, in nats: closed but for one integral."""
        count, r = self.count.index_select(0, cell), self.log_dispersion.exp()
        log_odds = self.log_base(cell) - self.log_dispersion  # of mu and r at z = 1
        power, positive = self.log_power.exp(), self.on_positive(q)
        # log(1 + mu / r) falls as z^power towards 0: slower than the rule expects where the power is below 1
        slope = log_odds + TAIL * (1 / power - 1).clamp(min=0.0)
        rule = grid(positive, slope.detach().exp().expand(positive.batch_shape), NODES)
        beyond = rule.expectation(torch.nn.functional.softplus(log_odds + power * rule.log_z))
        constant = torch.lgamma(count + r) - torch.lgamma(r) - torch.lgamma(count + 1)
        return constant + count * (log_odds + self.log_moments(q)[0]) - (count + r) * beyond

    def information(self, cell: Tensor, q: Distribution) -> Tensor:
        """Return power^2 mu r / (mu + r) of some cells, `(D,)`."""
        mean, r = torch.exp(self.log_base(cell) + self.log_moments(q)[1]), self.log_dispersion.exp()
        return self.log_power.exp().square() * mean * r / (mean + r)

    def log_prior(self) -> dict[str, Tensor]:
        """Return the log priors of the point-estimated parameters by name, scalars in nats."""
        of_dispersion = log_normal(self.log_dispersion - math.log(START_DISPERSION))
        return super().log_prior() | ({"exposure_dispersion": of_dispersion} if self.disperses else {})

    def draw_from_prior(self) -> None:
        """Put draws of their priors in place of the parameters; torch's random state decides them."""
        super().draw_from_prior()
        if self.disperses:
            self.log_dispersion.normal_(math.log(START_DISPERSION), 1.0)

    def estimates(self) -> dict[str, Tensor]:
        """Return the learned parameters by name, scalars."""
        return super().estimates() | ({"exposure_dispersion": self.log_dispersion.exp()} if self.disperses else {})
