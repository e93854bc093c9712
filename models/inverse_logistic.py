"""The inverse-logistic model: popularity multiplies the odds of interest."""

from collections.abc import Mapping
from typing import ClassVar, Self, final

import torch
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, LogNormal, constraints

from pyro_popbias.distributions import LogitBernoulli, expected_inverse_logistic, log_expected_inverse_logistic
from pyro_popbias.distributions.normal_density import log_normal
from pyro_popbias.models.affinities.affinity import Affinity
from pyro_popbias.models.affinities.distribution import AffinityDistribution
from pyro_popbias.models.options import LikelihoodOptions
from pyro_popbias.models.popularity_model import MODELS, Latent, PopularityModel
from pyro_popbias.models.priors.prior import PopularityPrior

SLOPE_SCALE = 0.5  # of the prior of log slope


@final
@MODELS.register("inverse-logistic")
class InverseLogistic(PopularityModel):
    """P(c=1 | u, i, z) = sigma(x_ui + log z) = z / (z + exp(-x_ui)); with conformity, sigma(x_ui + (slope + d_u) log z).

    Args:
        affinity: x_ui.
        prior: distribution of z, on (0, inf).
        has_slope: whether log z has a slope, log slope ~ Normal(0, 0.5), as where users differ in it; it is 1 elsewhere.
    """

    has_logit_link = True
    takes_conformity = True
    latents: ClassVar[Mapping[str, Latent]] = {
        "popularity": Latent(dims=("item", "period"), support=constraints.positive)
    }

    log_slope: Tensor | None

    def __init__(self, affinity: Affinity, prior: PopularityPrior, *, has_slope: bool = False) -> None:
        super().__init__(affinity, prior)
        start = torch.zeros((), dtype=torch.float64)
        self.log_slope = PyroParam(start, constraints.real) if has_slope else None  # type: ignore[assignment]  # read back as a tensor

    @classmethod
    def assemble(cls, affinity: Affinity, prior: PopularityPrior, options: LikelihoodOptions) -> Self:
        """Return the model of a study's options; it has no saturation, and a slope only where users differ in it."""
        return cls(affinity, prior, has_slope=options.conformity)

    @property
    def slope(self) -> Tensor:
        """The present slope of log z in the logit, its mean over users; 1 where they do not differ in it."""
        log_slope = self.log_slope
        return super().slope if log_slope is None else log_slope.exp()

    def logit(self, affinity: Tensor, popularity: Tensor) -> Tensor:
        """Return x + slope log z."""
        term = torch.log(popularity)
        return affinity + (term if self.log_slope is None else self.slope * term)

    @classmethod
    def integrates_in_closed_form(cls, family: type[Distribution]) -> bool:
        """Return whether P(c=1 | x) has a closed form: under a LogNormal distribution only."""
        return issubclass(family, LogNormal)

    def draw_from_prior(self) -> None:
        """Draw the slope, where there is one."""
        if self.log_slope is not None:
            self.log_slope.normal_(0.0, SLOPE_SCALE)

    def log_prior(self) -> dict[str, Tensor]:
        """Return the log prior of the slope, where there is one."""
        return {} if self.log_slope is None else {"gamma": log_normal(self.log_slope, SLOPE_SCALE)}

    def likelihood(self, affinity: Tensor, popularity: Tensor) -> LogitBernoulli:
        """Return Bernoulli(sigma(x + slope log z)) of each interaction."""
        return LogitBernoulli(self.logit(affinity, popularity))

    def conditional_probability(self, affinity: Tensor, popularity: Tensor) -> Tensor:
        """Return sigma(x + slope log z)."""
        return torch.sigmoid(self.logit(affinity, popularity))

    def marginal_probability(
        self, affinity: Tensor, distribution: Distribution, cell_index: Tensor | None = None
    ) -> Tensor:
        """Return E[sigma(x + slope log z)], one integral per affinity."""
        if self.log_slope is not None:
            logit = self.random_slope(AffinityDistribution(affinity))
            return logit.probability(distribution, logarithm=True, cell_index=cell_index)
        return expected_inverse_logistic(affinity, distribution, cell_index=cell_index)

    def log_marginal_probability(
        self, affinity: Tensor, label: Tensor, distribution: Distribution, cell_index: Tensor
    ) -> Tensor:
        """Return log E[sigma(x + slope log z)], or of its complement, in the tails too."""
        if self.log_slope is not None:
            logit, sign = self.random_slope(AffinityDistribution(affinity)), torch.where(label > 0, 1.0, -1.0)
            return logit.log_probability(sign, distribution, logarithm=True, cell_index=cell_index)
        return log_expected_inverse_logistic(affinity, torch.where(label > 0, 1.0, -1.0), distribution, cell_index)

    def estimates(self) -> dict[str, Tensor]:
        """Return the learned global parameters by name, scalars."""
        return super().estimates() if self.log_slope is None else {**super().estimates(), "gamma": self.slope}
