"""The inverse-logistic model: popularity multiplies the odds of interest."""

from collections.abc import Mapping
from typing import ClassVar, Self, final

import torch
from torch import Tensor
from torch.distributions import Distribution, LogNormal, constraints

from pyro_popbias.distributions import LogitBernoulli, expected_inverse_logistic, log_expected_inverse_logistic
from pyro_popbias.models.affinities.affinity import Affinity
from pyro_popbias.models.popularity_model import MODELS, Latent, LikelihoodOptions, PopularityModel
from pyro_popbias.models.priors.prior import PopularityPrior


@final
@MODELS.register("inverse-logistic")
class InverseLogistic(PopularityModel):
    """P(c=1 | u, i, z) = sigma(x_ui + log z) = z / (z + exp(-x_ui)).

    Args:
        affinity: x_ui.
        prior: distribution of z, on (0, inf).
    """

    has_logit_link = True
    latents: ClassVar[Mapping[str, Latent]] = {
        "popularity": Latent(dims=("item", "period"), support=constraints.positive)
    }

    @classmethod
    def assemble(cls, affinity: Affinity, prior: PopularityPrior, options: LikelihoodOptions) -> Self:
        """Return the model of a study's options; it has neither saturation nor slope."""
        return cls(affinity, prior)

    @classmethod
    def integrates_in_closed_form(cls, family: type[Distribution]) -> bool:
        """Return whether P(c=1 | x) has a closed form: under a LogNormal distribution only."""
        return issubclass(family, LogNormal)

    def draw_from_prior(self) -> None:
        """Draw nothing: the likelihood has no parameters."""

    def likelihood(self, affinity: Tensor, popularity: Tensor) -> LogitBernoulli:
        """Return Bernoulli(sigma(x + log z)) of each interaction."""
        return LogitBernoulli(affinity + torch.log(popularity))

    def conditional_probability(self, affinity: Tensor, popularity: Tensor) -> Tensor:
        """Return sigma(x + log z)."""
        return torch.sigmoid(affinity + torch.log(popularity))

    def marginal_probability(
        self, affinity: Tensor, distribution: Distribution, cell_index: Tensor | None = None
    ) -> Tensor:
        """Return E[sigma(x + log z)], one integral per affinity."""
        return expected_inverse_logistic(affinity, distribution, cell_index=cell_index)

    def log_marginal_probability(
        self, affinity: Tensor, label: Tensor, distribution: Distribution, cell_index: Tensor
    ) -> Tensor:
        """Return log E[sigma(x + log z)], or of its complement, in the tails too."""
        return log_expected_inverse_logistic(affinity, torch.where(label > 0, 1.0, -1.0), distribution, cell_index)
