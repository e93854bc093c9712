"""The guide of a pair: q of popularity, and q of the affinity's weights where these are Bayesian."""

from collections.abc import Sequence
from typing import final

import torch
from pyro.nn import PyroModule
from torch import Tensor
from torch.distributions import Normal

from pyro_popbias.data.batch import Batch
from pyro_popbias.guides.affinity_guide import AffinityGuide
from pyro_popbias.guides.global_response import GlobalResponse, weight_name
from pyro_popbias.guides.intercept_response import InterceptResponse
from pyro_popbias.guides.popularity_guide import PopularityGuide
from pyro_popbias.guides.quality_response import QualityResponse
from pyro_popbias.models import AffinityDistribution


@final
class JointGuide(PyroModule):
    """q(popularity) q(weights of the affinity).

    Args:
        popularity: q of popularity.
        affinity: q of the affinity's weights; None where they are point estimates.
        cells: number of cells.
        users: number of users.
        items: number of items.
        scalars: names of the model's parameters that are numbers.

    Attributes:
        shared: the joint posterior of the model's numbers and the global weights, which a training finds at its end.
        intercept: what moves with the intercept, whose posterior a training finds at its end.
        quality: what the qualities of items and their popularities move together, which a training finds at its end.
        residual_variance: of x by the dimensions that are not kept, a scalar that a training finds at its end; 0 before.
    """

    residual_variance: Tensor

    def __init__(
        self,
        popularity: PopularityGuide,
        affinity: AffinityGuide | None = None,
        *,
        cells: int = 0,
        users: int = 0,
        items: int = 0,
        scalars: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.popularity = popularity
        self.affinity = affinity
        self.intercept = InterceptResponse(cells, users, items)
        self.quality = QualityResponse(cells, items)
        sites = {} if affinity is None else affinity.names
        weights = [weight_name(site, k) for site, names in sites.items() for k in range(len(names))]
        self.shared = GlobalResponse([*scalars, *weights])
        self.register_buffer("residual_variance", torch.zeros((), dtype=torch.float64))

    def forward(self, batch: Batch) -> None:
        """Run the program; affinities that a batch knows already need no weights."""
        self.popularity(batch)
        if self.affinity is not None:
            self.affinity(batch)

    def with_residual(self, affinity: AffinityDistribution) -> AffinityDistribution:
        """Return the distribution of affinities with the residual variance in it."""
        if not float(self.residual_variance):
            return affinity
        return affinity.widened(self.residual_variance)

    def moved_popularity(self, cell: Tensor) -> Tensor:
        """Return the variance of log z, or of z where it is real, that q of some cells leaves out, `(D,)`."""
        of_intercept = self.intercept.variance * self.intercept.of_cell.index_select(0, cell).square()
        return of_intercept + self.quality.of_cell.index_select(0, cell)

    def weights(self) -> dict[str, Normal]:
        """Return q of each site of the affinity, whole tables; empty where there are none."""
        return {} if self.affinity is None else self.affinity.weights()

    def global_weights(self) -> dict[str, Normal]:
        """Return q of the sites whose weights belong to no single user or item."""
        if self.affinity is None:
            return {}
        return {site: distribution for site, distribution in self.weights().items() if self.affinity.names[site]}

    def global_priors(self) -> dict[str, Normal]:
        """Return the priors of the same sites."""
        return {} if self.affinity is None else self.affinity.global_priors()

    def features(self, site: str) -> tuple[str, ...]:
        """Return the names of the features that a site of global weights belongs to."""
        return () if self.affinity is None else self.affinity.names[site]

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device
