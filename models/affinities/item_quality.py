"""The quality of an item: what makes all users like it more, whoever they are and however popular it is.

Labels alone do not tell it from popularity: both are one number of the item. A model has both only where something else
says how popular items are, their counts (`models.exposures`) or a prior from other counts. Popular items may well be
better, too: how much is not assumed but learned, as the weight of the logarithm of an item's count.
"""

from typing import Protocol, final

import numpy as np
import pyro
import torch
from pyro.distributions import Normal
from scipy import sparse
from torch import Tensor

from pyro_popbias.data.batch import UniqueIds
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.features import Features
from pyro_popbias.models.affinities.latents import AffinityLatent, Weights
from pyro_popbias.models.affinities.row_bias import RowBias

SITE = "item_quality"
FEATURES = "quality_weights"  # the site of the features' weights
LOG_COUNT = "log count"
WEIGHT_SCALE = 1.0  # of the prior of a weight, per unit of its feature


class HasItemQuality(Protocol):
    """The section of an affinity whose items may have a quality."""

    @property
    def item_quality(self) -> bool:
        """Whether they have one."""


@final
class ItemQuality(RowBias):
    """b_i ~ Normal(w . a_i, s), a latent site with a row for each item, and w ~ Normal(0, 1) another one.

    The last of a_i is the log count of the item's training rows, of mean 0 and variance 1 over items with any, and 0 where
    there are none.

    Args:
        rows: number of items.
        features: the others of a_i; None for none, as where the affinity has weights of the same features already.
    """

    site, side = SITE, "item"

    def __init__(self, rows: int, features: Features | None = None) -> None:
        super().__init__(rows)
        self.names = (*(() if features is None else features.names), LOG_COUNT)
        self.register_buffer("log_count", torch.zeros(rows, dtype=torch.float64))
        none = torch.zeros(rows, 0)
        index, value = (none, none) if features is None else map(torch.tensor, (features.index, features.value))
        self.register_buffer("index", index.long(), persistent=False)
        self.register_buffer("value", value.double(), persistent=False)

    @torch.no_grad()
    def take_counts(self, count: Tensor) -> None:
        """Take note of how many training rows each item has, `(K,)`."""
        some = count > 0
        log_count = torch.log(count[some].double())
        spread = log_count.std(correction=0) if len(log_count) else log_count.new_ones(())
        self.log_count[some] = (log_count - log_count.mean()) / torch.where(spread > 0, spread, 1.0)

    def latents(self) -> dict[str, AffinityLatent]:
        """Return the rows, and the weights of the features."""
        start = torch.zeros(len(self.names), dtype=torch.float64)
        return {**super().latents(), FEATURES: AffinityLatent(None, start, WEIGHT_SCALE, self.names)}

    def forward(self, group: UniqueIds) -> Tensor:
        """Return a draw of b_i of each interaction, `(B,)` logits, and add the log prior of the scale to the trace."""
        zero = torch.zeros(len(self.names), dtype=torch.float64, device=self.log_count.device)
        weight = pyro.sample(FEATURES, Normal(zero, WEIGHT_SCALE).to_event(1))
        index, value = self._features(group.code)
        of_features = weight.index_select(-1, index.reshape(-1)).reshape(*weight.shape[:-1], *index.shape)
        # vectorised particles put a 1 before the features, where the items belong
        mean = (of_features * value).sum(-1).reshape(*weight.shape[:-2], len(index))
        return self.draw(group, mean).index_select(-1, group.cell_index).double()

    def _features(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and their values, `(..., M)` each; zeros where the code is -1."""
        row = code.clamp(min=0)
        index, count = self.index[row], self.log_count[row].unsqueeze(-1)
        last = torch.full_like(count, len(self.names) - 1, dtype=torch.long)
        return torch.cat([index, last], -1), torch.cat([self.value[row], count], -1) * (code >= 0).unsqueeze(-1)

    def of_items(self, weights: Weights, code: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of b_i of some items, both shaped as the codes; -1 is unseen, and has the prior.

        Args:
            weights: q of each site, whole tables.
            code: any shape.
        """
        return self.moments(weights[SITE], code)

    def prior_moments(self, q: torch.distributions.Normal) -> tuple[Tensor, Tensor]:
        """Return mean and variance that b_i of every item has before its labels, `(K, 1)` each.

        Args:
            q: `(F,)` distribution of w.
        """
        index, value = self._features(torch.arange(self.rows, device=self.log_count.device))
        of_weights = (q.scale.double().square()[index] * value.square()).sum(-1, keepdim=True)
        return (q.loc.double()[index] * value).sum(-1, keepdim=True), (2 * self.log_scale).exp() + of_weights

    def design(self) -> sparse.csr_array:
        """Return a_i of every item as a sparse matrix, `(K, F)`."""
        index, value = (
            part.cpu().numpy() for part in self._features(torch.arange(self.rows, device=self.log_count.device))
        )
        ends = np.arange(len(index) + 1) * index.shape[1]
        return sparse.csr_array((value.ravel(), index.ravel(), ends), shape=(self.rows, len(self.names)))


def quality_of(config: HasItemQuality, catalogue: Catalogue, *, with_features: bool = True) -> ItemQuality | None:
    """Return the quality of the items of a catalogue; None where a section declares none.

    Args:
        config: the section.
        catalogue: the items, and perhaps their features.
        with_features: whether the mean of a quality depends on them.
    """
    if not config.item_quality:
        return None
    return ItemQuality(len(catalogue.items), catalogue.item_features if with_features else None)
