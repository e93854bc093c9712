"""The section of a study that declares an affinity of learned vectors."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pyro_popbias.models.affinities.affinity import AffinityConfig
from pyro_popbias.validation import Flag, Learnable

POINT_SCALE = 0.5  # of the prior of point vectors, where none is given


class EmbeddingAffinityConfig(AffinityConfig):
    """x = u . i + b0 with learned vectors, Normal(0, scale).

    The scale of mean-field vectors is learned unless it is given, one for each dimension, and dim is an upper bound of
    their number; that of point vectors is 0.5 unless it is given, and dim is their number.
    """

    dim: Annotated[int, Field(strict=True, ge=1, le=4096)] = 32
    scale: Learnable = "learned"
    posterior: Literal["mean-field", "point"] = "mean-field"
    user_bias: Flag = True
    item_quality: Flag = False

    @model_validator(mode="before")
    @classmethod
    def _scale_of_points(cls, given: Any) -> Any:
        posterior = given.get("posterior") if isinstance(given, Mapping) else None
        if isinstance(posterior, str) and posterior == "point" and "scale" not in given:
            return {**given, "scale": POINT_SCALE}
        return given

    @property
    def learns_scales(self) -> bool:
        """Whether scales of vectors are learned, so that phase one runs all its epochs."""
        return self.scale == "learned"

    @model_validator(mode="after")
    def _scale(self) -> Self:
        if self.scale == "learned" and self.posterior == "point":
            raise ValueError(
                "scale = 'learned' needs posterior = 'mean-field': with point vectors the likelihood grows without bound "
                "as the scale goes to 0"
            )
        return self
