"""Affinities that are given: by vectors, or as a score of every interaction. Only b0 is learned."""

from typing import Any, Self, final

import numpy as np
import pandas as pd
import torch
from pydantic import model_validator
from torch import Tensor

from pyro_popbias.data.batch import Batch
from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.frames import as_frame
from pyro_popbias.data.ids import as_text
from pyro_popbias.data.table_files import read_table
from pyro_popbias.errors import ConfigError, DataError
from pyro_popbias.models.affinities.affinity import AFFINITIES, Affinity, AffinityConfig, VectorAffinity
from pyro_popbias.models.affinities.distribution import AffinityDistribution
from pyro_popbias.models.affinities.latents import Weights
from pyro_popbias.sparse_lookup import gather


class FixedAffinityConfig(AffinityConfig):
    """x = u . i + b0 with given vectors (files, or frames in Python; the first column is the id), or a given score."""

    user_vectors: Any = None
    item_vectors: Any = None
    score: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        vectors = [self.user_vectors is not None, self.item_vectors is not None]
        if not ((all(vectors) and self.score is None) or (not any(vectors) and self.score is not None)):
            raise ValueError("give user_vectors and item_vectors, or score")
        return self


@final
@AFFINITIES.register("fixed")
class FixedVectorAffinity(VectorAffinity):
    """x_ui = u . i + b0, with given vectors.

    Args:
        user_vectors: `(users, d)`.
        item_vectors: `(items, d)`.
    """

    config = FixedAffinityConfig

    def __init__(self, user_vectors: Tensor, item_vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("user_vectors", user_vectors)
        self.register_buffer("item_vectors", item_vectors)

    @classmethod
    def from_config(cls, config: FixedAffinityConfig, catalogue: Catalogue, generator: torch.Generator) -> Affinity:
        """Return the affinity of the given vectors, or of the given score.

        Raises:
            DataError: the vectors do not fit the catalogue, or each other.
        """
        if config.score is not None:
            return FixedScoreAffinity()
        user_vectors = _vectors(config.user_vectors, catalogue.users, "user")
        item_vectors = _vectors(config.item_vectors, catalogue.items, "item")
        if user_vectors.shape[1] != item_vectors.shape[1]:
            raise DataError(
                f"PB-D103: user vectors have {user_vectors.shape[1]} coordinates, item vectors {item_vectors.shape[1]}"
            )
        return cls(user_vectors, item_vectors)

    def draw_from_prior(self) -> None:
        """Draw nothing: the vectors are given."""

    def global_regressors(self, user: Tensor, item: Tensor) -> dict[str, Tensor]:
        """Return nothing: x is given."""
        return {}

    def forward(self, batch: Batch) -> Tensor:
        """Return u . i + b0 of each interaction, `(B,)`."""
        u, i = gather(self.user_vectors, batch.user), gather(self.item_vectors, batch.item)
        return (u * i).sum(-1).double() + self.level()


@final
class FixedScoreAffinity(Affinity):
    """x_ui = score + b0, with the score a column of the data."""

    config = FixedAffinityConfig

    @classmethod
    def from_config(cls, config: FixedAffinityConfig, catalogue: Catalogue, generator: torch.Generator) -> Self:
        """Return the affinity; every batch brings its scores."""
        return cls()

    def draw_from_prior(self) -> None:
        """Draw nothing: the score is given."""

    def global_regressors(self, user: Tensor, item: Tensor) -> dict[str, Tensor]:
        """Return nothing: x is given."""
        return {}

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


def _vectors(given: Any, ids: "pd.Index[str]", kind: str) -> Tensor:
    """Return the vectors `(len(ids), d)` of some ids, from a frame or file whose first column is the id."""
    where = f"{kind}_vectors"
    frame = read_table(given, first_text=True) if isinstance(given, str) else as_frame(given)
    words = [str(name) for name in frame.columns[1:] if not pd.api.types.is_numeric_dtype(frame[name].dtype)]
    if words or frame.shape[1] < 2:
        raise DataError(
            f"PB-D105: {where} needs an id column, then numbers; not numeric: {', '.join(words) or 'nothing follows'}"
        )
    names = as_text(frame.iloc[:, 0], f"{where}.{frame.columns[0]}")
    if names.duplicated().any():
        raise DataError(f"PB-D050: {where} has {names.duplicated().sum()} ids twice; keep one row per id")
    values = frame.iloc[:, 1:].to_numpy(dtype="float32")
    position = pd.Index(names).get_indexer(ids)
    missing = ids[position < 0]
    if len(missing):
        raise DataError(f"PB-D104: {where} lacks {len(missing)} {kind}s of the data, first {', '.join(missing[:5])}")
    vectors = values[position]
    if not np.isfinite(vectors).all():
        raise DataError(f"PB-D105: {where} has {(~np.isfinite(vectors)).sum()} values that are missing or not finite")
    return torch.from_numpy(vectors)
