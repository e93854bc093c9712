"""The sections of a study: every key with its type, range and default. Values only; `study.py` puts them to use.

A section knows the class that it declares, so that nothing is looked up by a string.
"""

import os
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pyro_popbias.data.labels import parse_rule
from pyro_popbias.registry import nearest

Rate = Annotated[float, Field(strict=True, ge=1e-8, le=10.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, ge=1e-6, le=1e6, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class Section(BaseModel):
    """Base of sections: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            keys = [info.alias or name for name, info in cls.model_fields.items()]
            for key in given:
                if key not in keys:
                    message = f"unknown key {str(key)!r}{nearest(str(key), keys)} Keys: {', '.join(keys)}"
                    raise PydanticCustomError("unknown_key", "{message}", {"message": message})
        return given


class DataConfig(Section):
    """`[data]`: where the interactions are and which columns mean what."""

    path: str | None = None
    user: str | None = None
    item: str | None = None
    label: str | None = None
    positive_if: str | None = None
    time: str | None = None
    user_features: str | None = None
    item_features: str | None = None
    periods: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 1
    negatives: Annotated[int, Field(strict=True, ge=0, le=1_000)] | None = None

    @model_validator(mode="after")
    def _rule(self) -> Self:
        if self.positive_if is not None:
            parse_rule(self.positive_if)
        if self.periods > 1 and self.time is None:
            raise ValueError("periods above 1 need time, the column of times")
        return self


class ExponentialSaturationConfig(Section):
    """g(z) = 1 - exp(-rate z)."""

    name: Literal["exponential"] = "exponential"
    rate: Positive | Literal["learned"] = 1.0


class HillSaturationConfig(Section):
    """g(z) = z / (z + half)."""

    name: Literal["hill"] = "hill"
    half: Positive | Literal["learned"] = 1.0


class TanhSaturationConfig(Section):
    """g(z) = tanh(rate z / 2)."""

    name: Literal["tanh"] = "tanh"
    rate: Positive | Literal["learned"] = 1.0


class PowerSaturationConfig(Section):
    """z^exponent, of a ranking score."""

    name: Literal["power"] = "power"
    exponent: Positive | Literal["learned"] = 1.0


class EmbeddingAffinityConfig(Section):
    """x = u . i + b0 with learned vectors, Normal(0, scale)."""

    name: Literal["embedding"] = "embedding"
    dim: Annotated[int, Field(strict=True, ge=1, le=4096)] = 64
    scale: Positive | Literal["learned"] = 0.5
    posterior: Literal["point", "mean-field"] = "point"

    @model_validator(mode="after")
    def _scale(self) -> Self:
        if self.scale == "learned" and self.posterior == "point":
            raise ValueError(
                "scale = 'learned' needs posterior = 'mean-field': with point vectors the likelihood grows without bound "
                "as the scale goes to 0"
            )
        return self


class LinearAffinityConfig(Section):
    """x = beta_user . a_u + beta_item . a_i + b0 on given features, beta ~ Normal(0, 1)."""

    name: Literal["linear"] = "linear"


class FactorizationAffinityConfig(Section):
    """Vectors of ids and of side features, Normal(0, scale)."""

    name: Literal["factorization-machine"] = "factorization-machine"
    dim: Annotated[int, Field(strict=True, ge=1, le=4096)] = 64
    scale: Positive = 0.5


class FixedAffinityConfig(Section):
    """x = u . i + b0 with given vectors (files, or frames in Python; the first column is the id), or a given score."""

    name: Literal["fixed"] = "fixed"
    user_vectors: Any = None
    item_vectors: Any = None
    score: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        vectors = [self.user_vectors is not None, self.item_vectors is not None]
        if not ((all(vectors) and self.score is None) or (not any(vectors) and self.score is not None)):
            raise ValueError("give user_vectors and item_vectors, or score")
        return self


ITEM_SOURCES = ("counts", "share", "log-share")  # of a prior with a distribution for each cell
DRIFT = 0.25  # of log popularity, from the counts' time to the labels'


class PriorConfig(Section):
    """Base of priors of popularity: a distribution with a learned or given concentration, or what counts of items say."""

    source: Literal["learned", "population", "counts", "share", "log-share", "fixed"] = "learned"
    concentration: Positive | None = None
    counts: Any = None
    drift: Annotated[float, Field(strict=True, ge=0.0, le=10.0, allow_inf_nan=False)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _drift_of_counts(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("source") == "counts":
            return {"drift": DRIFT, **given}
        return given

    @field_validator("counts")
    @classmethod
    def _path_or_table(cls, counts: Any) -> Any:
        if isinstance(counts, os.PathLike):
            return os.fspath(counts)
        if counts is None or isinstance(counts, str) or hasattr(counts, "__arrow_c_stream__"):
            return counts
        raise ValueError("counts is the path of a file or, in Python, a table")

    @model_validator(mode="after")
    def _counts(self) -> Self:
        if self.source == "counts" and self.counts is None:
            raise ValueError(
                "source = 'counts' needs counts, a file of other rows than those that are fitted: counts of the labels "
                "themselves would be used twice, and 95 % intervals of popularity then cover 84 %"
            )
        if self.counts is not None and self.source not in ITEM_SOURCES:
            raise ValueError(f"counts goes with source = {', '.join(map(repr, ITEM_SOURCES))}")
        if self.drift is not None and self.source != "counts":
            raise ValueError("drift goes with source = 'counts'")
        return self

    @model_validator(mode="after")
    def _concentration(self) -> Self:
        if (self.source == "fixed") != (self.concentration is not None):
            raise ValueError("concentration goes with source = 'fixed', and source = 'fixed' needs it")
        return self


class GammaPriorConfig(PriorConfig):
    """z ~ Gamma(a, a)."""

    name: Literal["gamma"] = "gamma"


class LogNormalPriorConfig(PriorConfig):
    """z ~ LogNormal(-s^2/2, s) with s^2 = log(1 + 1/a)."""

    name: Literal["lognormal"] = "lognormal"


class WeibullPriorConfig(PriorConfig):
    """z ~ Weibull with E[z] = 1 and Var z = 1/a."""

    name: Literal["weibull"] = "weibull"


class StandardPriorConfig(PriorConfig):
    """Base of priors without a concentration."""

    distribution: ClassVar[str]

    @model_validator(mode="after")
    def _concentration(self) -> Self:
        if self.source == "population":
            raise ValueError(
                f"this prior is {self.distribution} and has no concentration that source = 'population' could give; leave out "
                "source, or use gamma, lognormal or weibull"
            )
        if self.source == "fixed" or self.concentration is not None:
            raise ValueError(
                f"this prior is {self.distribution} and has no concentration; leave out source and concentration"
            )
        return self


class ExponentialPriorConfig(StandardPriorConfig):
    """z ~ Exponential(1)."""

    name: Literal["exponential"] = "exponential"
    distribution = "Exponential(1)"


class NormalPriorConfig(StandardPriorConfig):
    """z ~ Normal(0, 1), for a popularity on the real line."""

    name: Literal["normal"] = "normal"
    distribution = "Normal(0, 1)"


class ModelConfig(Section):
    """`[model]`: likelihood, affinity, saturation and prior."""

    name: str = "product"
    saturation: Annotated[
        ExponentialSaturationConfig | HillSaturationConfig | TanhSaturationConfig | PowerSaturationConfig,
        Field(discriminator="name"),
    ] = ExponentialSaturationConfig()
    slope: Literal["positive", "free"] = "positive"
    affinity: Annotated[
        EmbeddingAffinityConfig | LinearAffinityConfig | FactorizationAffinityConfig | FixedAffinityConfig,
        Field(discriminator="name"),
    ] = EmbeddingAffinityConfig()
    prior: Annotated[
        GammaPriorConfig | ExponentialPriorConfig | LogNormalPriorConfig | WeibullPriorConfig | NormalPriorConfig,
        Field(discriminator="name"),
    ] = GammaPriorConfig()
    latent: Literal["item", "interaction"] = "item"

    @field_validator("prior", mode="before")
    @classmethod
    def _gamma_unless_named(cls, prior: Any) -> Any:
        return {"name": "gamma", **prior} if isinstance(prior, Mapping) else prior


class GuideConfig(Section):
    """`[guide]`: the variational family."""

    name: str = "gamma"


class TrainingConfig(Section):
    """`[training]`: the optimisation."""

    epochs: Count = 20
    batch_size: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] = 4096
    learning_rate: Rate = 0.01
    guide_learning_rate: Rate = 0.05
    phase_two: Annotated[int, Field(strict=True, ge=0, le=100_000)] | Literal["auto"] = "auto"
    particles: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 1
    validation: Annotated[float, Field(strict=True, ge=0.0, le=0.9, allow_inf_nan=False)] = 0.1
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("seed", mode="before")
    @classmethod
    def _drawn(cls, seed: Any) -> Any:
        return secrets.randbits(32) if seed is None else seed
