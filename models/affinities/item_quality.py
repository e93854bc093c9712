"""The quality of an item: what makes all users like it more, whoever they are and however popular it is.

Labels alone do not tell it from popularity: both are one number of the item. A model has both only where something else
says how popular items are, their counts (`models.exposures`) or a prior from other counts.
"""

from typing import Protocol, final

import pyro
import torch
from pyro.distributions import Normal
from torch import Tensor

from pyro_popbias.data.batches import UniqueIds
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.features import Features
from pyro_popbias.models.affinities.latents import AffinityLatent, Weights
from pyro_popbias.models.affinities.row_bias import RowBias

SITE = "item_quality"
FEATURES = "quality_weights"  # the site of the features' weights
WEIGHT_SCALE = 1.0  # of the prior of a weight, per unit of its feature


class HasItemQuality(Protocol):
    """The section of an affinity whose items may have a quality."""

    @property
    def item_quality(self) -> bool:
        """Whether they have one."""


@final
class ItemQuality(RowBias):
    """b_i = w . a_i + e_i, with e_i ~ Normal(0, s) a latent site with a row for each item, and w ~ Normal(0, 1) one too.

    Args:
        rows: number of items.
        features: a_i; None leaves w . a_i out, as where the affinity has weights of the same features already.
    """

    site, side = SITE, "item"

    def __init__(self, rows: int, features: Features | None = None) -> None:
        super().__init__(rows)
        self.names = () if features is None else features.names
        if features is not None:
            self.register_buffer("index", torch.tensor(features.index), persistent=False)
            self.register_buffer("value", torch.tensor(features.value).double(), persistent=False)

    def latents(self) -> dict[str, AffinityLatent]:
        """Return the rows, and the weights of the features where there are any."""
        if not self.names:
            return super().latents()
        start = torch.zeros(len(self.names), dtype=torch.float64)
        return {**super().latents(), FEATURES: AffinityLatent(None, start, WEIGHT_SCALE, self.names)}

    def forward(self, group: UniqueIds) -> Tensor:
        """Return a draw of b_i of each interaction, `(B,)` logits, and add the log prior of the scale to the trace."""
        rows = self.draw(group).double()
        if self.names:
            zero = torch.zeros(len(self.names), dtype=torch.float64, device=rows.device)
            weight = pyro.sample(FEATURES, Normal(zero, WEIGHT_SCALE).to_event(1))
            index, value = self._features(group.code)
            of_features = weight.index_select(-1, index.reshape(-1)).reshape(*weight.shape[:-1], *index.shape)
            # vectorised particles put a 1 before the features, where the items belong
            rows = rows + (of_features * value).sum(-1).reshape(*weight.shape[:-2], len(index))
        return rows.index_select(-1, group.cell_index)

    def _features(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and their values, `(..., M)` each; zeros where the code is -1."""
        row = code.clamp(min=0)
        return self.index[row], self.value[row] * (code >= 0).unsqueeze(-1)

    def of_items(self, weights: Weights, code: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of b_i of some items, both shaped as the codes; -1 is unseen, and has the prior.

        Args:
            weights: q of each site, whole tables.
            code: any shape.
        """
        mean, variance = self.moments(weights[SITE], code)
        if not self.names:
            return mean, variance
        (index, value), q = self._features(code), weights[FEATURES]
        return mean + (q.loc[index] * value).sum(-1), variance + (q.scale.square()[index] * value.square()).sum(-1)


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
