"""The product model: interest times attention."""

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_popbias.distributions import ProductBernoulli, closed_form, expectation, log_expectation, take
from pyro_popbias.models.popularity_model import MODELS, Latent
from pyro_popbias.models.saturated_model import SaturatedModel
from pyro_popbias.models.saturations.exponential import ExponentialSaturation


@final
@MODELS.register("product")
class Product(SaturatedModel):
    """P(c=1 | u, i, z) = sigma(x_ui) g(z)."""

    latents: ClassVar[Mapping[str, Latent]] = {
        "popularity": Latent(dims=("item", "period"), support=constraints.positive)
    }
    default_saturation = ExponentialSaturation
    per_interaction = True

    @classmethod
    def integrates_in_closed_form(cls, family: type[Distribution]) -> bool:
        """Return whether P(c=1 | x) has a closed form under the default saturation."""
        return closed_form(ExponentialSaturation, family) is not None

    def likelihood(self, affinity: Tensor, popularity: Tensor) -> ProductBernoulli:
        """Return Bernoulli(sigma(x) g(z)) of each interaction, in logarithms."""
        g = self.saturation
        return ProductBernoulli(affinity, g.log(popularity), g.log_complement(popularity))

    def conditional_probability(self, affinity: Tensor, popularity: Tensor) -> Tensor:
        """Return sigma(x) g(z)."""
        return torch.sigmoid(affinity) * self.saturation(popularity)

    def marginal_probability(
        self, affinity: Tensor, distribution: Distribution, cell_index: Tensor | None = None
    ) -> Tensor:
        """Return sigma(x) E[g(z)]: the distribution of z enters by one number."""
        attention = expectation(self.saturation, distribution)
        return torch.sigmoid(affinity) * (attention if cell_index is None else attention.index_select(0, cell_index))

    def log_evidence(
        self, affinity: Tensor, distribution: Distribution, label: Tensor, cell_index: Tensor | None = None
    ) -> Tensor:
        """Return log P(c | x) of labels `(B,)` exactly, in nats, where every interaction has a popularity of its own.

        P is linear in g(z), so its integral is sigma(x) E[g(z)]. The ELBO of such a latent is below this by
        KL(q || posterior).

        Args:
            affinity: `(B,)` logits.
            distribution: `(B,)` distribution of z of each interaction; with `cell_index`, `(D,)` of distinct cells.
            label: `(B,)` 0 or 1.
            cell_index: `(B,)` which of the cells.
        """
        attention = self._log_attention(distribution)
        if cell_index is not None:
            attention = attention[0].index_select(0, cell_index), attention[1].index_select(0, cell_index)
        return ProductBernoulli(affinity, *attention).log_prob(label)

    def log_marginal_probability(
        self, affinity: Tensor, label: Tensor, distribution: Distribution, cell_index: Tensor
    ) -> Tensor:
        """Return log sigma(x) E[g(z)], or of its complement, in the tails too."""
        used, among = cell_index.unique(return_inverse=True)
        return self.log_evidence(affinity, take(distribution, used), label, among)

    def _log_attention(self, distribution: Distribution) -> tuple[Tensor, Tensor]:
        """Return log E[g(z)] and log E[1 - g(z)], shaped as the batch of the distribution."""
        g = self.saturation
        # 1 - E[g] from E[g] would be lost where E[g] rounds to 1
        one, other = (log_expectation(part, distribution, 1 / g.slope) for part in (g.log, g.log_complement))
        return one.clamp(max=0.0), other.clamp(max=0.0)
