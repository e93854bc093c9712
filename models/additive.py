"""The additive model: popularity is one more term of the logit."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self, final

import torch
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import Distribution, Normal, constraints

from pyro_popbias.distributions import LogitBernoulli, expected_logistic, log_expected_logistic
from pyro_popbias.distributions.normal_density import log_normal
from pyro_popbias.models.affinities.affinity import Affinity
from pyro_popbias.models.options import LikelihoodOptions
from pyro_popbias.models.popularity_model import MODELS, Latent, PopularityModel
from pyro_popbias.models.priors.prior import PopularityPrior


@final
@MODELS.register("additive")
class Additive(PopularityModel):
    """P(c=1 | u, i, z) = sigma(x_ui + slope z).

    With a linear affinity and no term of user and item together, every user has the same ranking.

    Args:
        affinity: x_ui.
        prior: distribution of z, positive or real.
        slope: "positive" learns log slope ~ Normal(0, 1); "free" learns slope ~ Normal(0, 1), of any sign.
    """

    latents: ClassVar[Mapping[str, Latent]] = {"popularity": Latent(dims=("item", "period"), support=constraints.real)}
    per_interaction = True
    free_slope = True
    has_logit_link = True
    takes_conformity = True
    slope_parameter: Tensor

    def __init__(
        self, affinity: Affinity, prior: PopularityPrior, *, slope: Literal["positive", "free"] = "positive"
    ) -> None:
        super().__init__(affinity, prior)
        self.positive = slope == "positive"
        start = torch.tensor(0.0 if self.positive else 1.0, dtype=torch.float64)
        self.slope_parameter = PyroParam(start, constraints.real)  # type: ignore[assignment]  # read back as a tensor

    @classmethod
    def assemble(cls, affinity: Affinity, prior: PopularityPrior, options: LikelihoodOptions) -> Self:
        """Return the model of a study's options; it has no saturation."""
        return cls(affinity, prior, slope=options.slope)

    @property
    def slope(self) -> Tensor:
        """The present slope of z in the logit; its mean over users where these differ."""
        return self.slope_parameter.exp() if self.positive else self.slope_parameter

    @classmethod
    def integrates_in_closed_form(cls, family: type[Distribution]) -> bool:
        """Return whether P(c=1 | x) has a closed form: under a Normal distribution only."""
        return issubclass(family, Normal)

    def likelihood(self, affinity: Tensor, popularity: Tensor) -> LogitBernoulli:
        """Return Bernoulli(sigma(x + slope z)) of each interaction."""
        return LogitBernoulli(affinity + self.slope * popularity)

    def draw_from_prior(self) -> None:
        """Draw the slope."""
        self.slope_parameter.normal_()

    def log_prior(self) -> dict[str, Tensor]:
        """Return the log prior of the slope."""
        return {"gamma": log_normal(self.slope_parameter)}

    def conditional_probability(self, affinity: Tensor, popularity: Tensor) -> Tensor:
        """Return sigma(x + slope z)."""
        return torch.sigmoid(affinity + self.slope * popularity)

    def marginal_probability(
        self, affinity: Tensor, distribution: Distribution, cell_index: Tensor | None = None
    ) -> Tensor:
        """Return E[sigma(x + slope z)], one integral per affinity."""
        return expected_logistic(affinity, self.slope, distribution, cell_index=cell_index)

    def log_marginal_probability(
        self, affinity: Tensor, label: Tensor, distribution: Distribution, cell_index: Tensor
    ) -> Tensor:
        """Return log E[sigma(x + slope z)], or of its complement, in the tails too."""
        positive = label > 0
        value = affinity.new_empty(affinity.shape)
        for sign, rows in ((1.0, positive), (-1.0, ~positive)):
            found = log_expected_logistic(sign * affinity[rows], sign * self.slope, distribution, cell_index[rows])
            value[rows] = found
        return value

    def estimates(self) -> dict[str, Tensor]:
        """Return the learned global parameters by name, scalars."""
        return {**super().estimates(), "gamma": self.slope}
