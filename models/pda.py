"""The PDA model: a ranking score that grows as a power of popularity, trained on pairs."""

from collections.abc import Mapping
from typing import ClassVar, final

import pyro
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Distribution, Normal, constraints
from torch.nn.functional import logsigmoid

from pyro_popbias.data.batch import Batch
from pyro_popbias.distributions import LogitBernoulli, expectation
from pyro_popbias.models.affinities.distribution import AffinityDistribution
from pyro_popbias.models.information import Information
from pyro_popbias.models.popularity_model import MODELS, Latent
from pyro_popbias.models.saturated_model import SaturatedModel
from pyro_popbias.models.saturations.power import PowerSaturation

# What a choice among all items is worth in pairs. Let items be chosen in proportion to exp(s), and each choice be
# compared with uniform draws: between alike items, the curvature of one expected pair is half the variance of its
# slope, so that q would have twice the variance of the estimate (Godambe's information of a composite likelihood;
# Varin, Reid and Firth, Statistica Sinica 2011).
PAIRS = 2.0


@final
@MODELS.register("pda")
class PDA(SaturatedModel):
    """P(i before j | u) = sigma(s_ui - s_uj), with the score s_ui = (ELU(x_ui) + 1) z_i^exponent.

    The score is not a probability: it has no upper bound. It is that of Zhang et al., SIGIR 2021 (popularity-bias
    deconfounding and adjusting), with z latent; i is a positive of the user, j a sampled negative in the same period.
    Pairs that share a positive are not independent data: intervals of z are about right for most items, and too wide for the
    most popular ones.
    """

    latents: ClassVar[Mapping[str, Latent]] = {
        "popularity": Latent(dims=("item", "period"), support=constraints.positive)
    }
    pairwise = True
    default_saturation = PowerSaturation

    @classmethod
    def integrates_in_closed_form(cls, family: type[Distribution]) -> bool:
        """Return whether E[s] has a closed form: the moments of every positive distribution here have."""
        return not issubclass(family, Normal)

    def observe(self, batch: Batch, affinity: Tensor, popularity: Tensor) -> Tensor:
        """Return 1 for each pair of a positive and one of its negatives that is in this order, `(P m,)`."""
        likelihood = self.likelihood(affinity, popularity)
        preferred, other = self._pairs(batch, likelihood.logit)
        observed = None if batch.label is None else torch.ones_like(other)
        # however many negatives it is compared with, a positive weighs PAIRS pairs
        weight = batch.scale * PAIRS / max(batch.negatives, 1)
        with pyro.plate("interaction", other.shape[-1]), poutine.scale(scale=weight):
            order: Tensor = pyro.sample("label", LogitBernoulli(preferred - other), obs=observed)
        return order

    def log_likelihood(self, batch: Batch, affinity: Tensor, popularity: Tensor) -> Tensor:
        """Return PAIRS / m times log P of the order of each pair of a batch, in nats, `(..., P m)`."""
        preferred, other = self._pairs(batch, self.conditional_probability(affinity, popularity))
        return PAIRS / max(batch.negatives, 1) * logsigmoid(preferred - other)

    def information(self, batch: Batch, affinity: Tensor, popularity: Tensor) -> Information:
        """Return what the pairs of each row say about its x and z, the other row of a pair given, `(B,)` each."""
        with torch.enable_grad():
            x, moved = affinity.detach().requires_grad_(), torch.zeros_like(affinity).requires_grad_()
            score = self.conditional_probability(x, self.moved_popularity(popularity, moved))
            of_x, of_z = torch.autograd.grad(score.sum(), (x, moved))
        preferred, other = self._pairs(batch, score.detach())
        of_pair = PAIRS / max(batch.negatives, 1) * torch.sigmoid(preferred - other) * torch.sigmoid(other - preferred)
        of_score = torch.cat([of_pair.reshape(batch.positives, -1).sum(-1), of_pair])
        return Information(of_score * of_x.square(), of_score * of_x * of_z, of_score * of_z.square())

    @staticmethod
    def _pairs(batch: Batch, score: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores of positives and of their negatives, `(..., P m)` each."""
        positive, negative = score[..., : batch.positives], score[..., batch.positives :]
        return positive.repeat_interleave(batch.negatives, dim=-1), negative

    def likelihood(self, affinity: Tensor, popularity: Tensor) -> LogitBernoulli:
        """Return the distribution of being preferred to an item of score 0: Bernoulli(sigma(s)) of each interaction."""
        return LogitBernoulli(self.conditional_probability(affinity, popularity))

    def log_score(self, batch: Batch, affinity: AffinityDistribution, distribution: Distribution) -> Tensor:
        """Return log sigma(E[s_i] - E[s_j]) of each pair, in nats: at the mean scores, whose order is the ranking."""
        score, _ = affinity.expect(lambda x: self.marginal_probability(x, distribution, batch.cell_index))
        preferred, other = self._pairs(batch, score)
        return logsigmoid(preferred - other)

    def conditional_probability(self, affinity: Tensor, popularity: Tensor) -> Tensor:
        """Return the score (ELU(x) + 1) z^exponent."""
        return self.affinity_score(affinity) * self.saturation(popularity)

    def affinity_score(self, affinity: Tensor) -> Tensor:
        """Return ELU(x) + 1: the score at z = 1."""
        return torch.where(affinity > 0, 1 + affinity, torch.exp(affinity.clamp(max=0.0)))

    def marginal_probability(
        self, affinity: Tensor, distribution: Distribution, cell_index: Tensor | None = None
    ) -> Tensor:
        """Return (ELU(x) + 1) E[z^exponent], a score and no probability."""
        weight = expectation(self.saturation, distribution)
        return self.affinity_score(affinity) * (weight if cell_index is None else weight.index_select(0, cell_index))
