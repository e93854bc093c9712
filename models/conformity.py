"""How much more than others a user follows popularity: d_u ~ Normal(0, s) beside the mean slope of popularity in the logit."""

from dataclasses import replace
from typing import ClassVar, final

from torch import Tensor

from pyro_popbias.models.affinities.distribution import AffinityDistribution, Deviation
from pyro_popbias.models.affinities.latents import AffinityLatent, Weights
from pyro_popbias.models.affinities.row_bias import RowBias

SITE = "conformity"


@final
class Conformity(RowBias):
    """d_u ~ Normal(0, s), a latent site with a row for each user; log s ~ Normal(log 0.5, 1) is a point estimate.

    Args:
        rows: number of users.
    """

    site, side = SITE, "user"
    start_scale: ClassVar[float] = 0.5

    def latents(self) -> dict[str, AffinityLatent]:
        """Return the site, which is drawn where x_ui is known too."""
        return {name: replace(latent, of_affinity=False) for name, latent in super().latents().items()}

    def added(self, affinity: AffinityDistribution, user: Tensor, weights: Weights) -> AffinityDistribution:
        """Return the distribution of affinities with d_u of their users beside it.

        Args:
            affinity: `(U, ...)` logits.
            user: `(U,)` codes; -1 is an unseen user, whose d_u has its prior.
            weights: q of each site, whole tables.
        """
        shape = -1, *[1] * (affinity.mean.dim() - 1)
        moments = (part.reshape(shape) for part in self.moments(weights[self.site], user))
        return replace(affinity, conformity=Deviation(*moments))
