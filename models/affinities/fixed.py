"""Affinities that are given: by vectors, or as a score of every interaction. Only b0 is learned."""

from typing import final

from torch import Tensor

from pyro_popbias.data.batches import Batch
from pyro_popbias.errors import ConfigError
from pyro_popbias.models.affinities.affinity import Affinity, AffinityDistribution, VectorAffinity, Weights
from pyro_popbias.sparse_lookup import gather


@final
class FixedVectorAffinity(VectorAffinity):
    """x_ui = u . i + b0, with given vectors.

    Args:
        user_vectors: `(users, d)`.
        item_vectors: `(items, d)`.
    """

    def __init__(self, user_vectors: Tensor, item_vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("user_vectors", user_vectors)
        self.register_buffer("item_vectors", item_vectors)

    def forward(self, batch: Batch) -> Tensor:
        """Return u . i + b0 of each interaction, `(B,)`."""
        u, i = gather(self.user_vectors, batch.user), gather(self.item_vectors, batch.item)
        return (u * i).sum(-1).double() + self.level()


@final
class FixedScoreAffinity(Affinity):
    """x_ui = score + b0, with the score a column of the data."""

    def forward(self, batch: Batch) -> Tensor:
        """Return score + b0 of each interaction, `(B,)`."""
        assert batch.score is not None  # noqa: S101  the pair gives every batch its score
        return batch.score.double() + self.level()

    def relative(self, user: Tensor, item: Tensor, score: Tensor | None, weights: Weights) -> AffinityDistribution:
        """Return the score, `(B,)`."""
        assert score is not None  # noqa: S101  the caller reads the column
        return AffinityDistribution(score.double())

    def table(self, user: Tensor, weights: Weights) -> AffinityDistribution:
        """Refuse: a score column says nothing about other pairs.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "PB-C003: a fixed score column has no value for pairs outside the data, so nothing can be recommended; "
            "give user_vectors and item_vectors, or predict on a frame that has the column"
        )
