"""The sections of a study: every key with its type, range and default. Values only; `study.py` puts them to use.

The keys of an affinity, saturation or prior stand beside their class, in `models/`; here its name is looked up.
"""

import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from torch.distributions import constraints

from pyro_popbias.data.labels import parse_rule
from pyro_popbias.guides import GUIDES
from pyro_popbias.models import (
    AFFINITIES,
    EXPOSURES,
    MODELS,
    PRIORS,
    SATURATIONS,
    AffinityConfig,
    ExposureConfig,
    PriorConfig,
    SaturationConfig,
)
from pyro_popbias.models.affinities.embedding_config import EmbeddingAffinityConfig
from pyro_popbias.models.affinities.fixed import FixedAffinityConfig as FixedAffinityConfig  # others know it from here
from pyro_popbias.models.priors.config import WALK, ConcentratedPriorConfig
from pyro_popbias.models.saturations.exponential import ExponentialSaturationConfig
from pyro_popbias.study.validation_config import Validation, ValidationConfig
from pyro_popbias.validation import Flag, Section, part_config

Rate = Annotated[float, Field(strict=True, ge=1e-8, le=10.0, allow_inf_nan=False)]
WITHOUT_EXPOSURE = ("auto", "none")  # words that stand for no exposure of the registry
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


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
    new_items: Flag = False
    periods: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 1
    period_by: Literal["time", "count"] = "time"
    negatives: Annotated[int, Field(strict=True, ge=0, le=1_000)] | None = None
    negative_sampling: Literal["uniform", "popularity"] = "uniform"

    @model_validator(mode="after")
    def _rule(self) -> Self:
        if self.positive_if is not None:
            parse_rule(self.positive_if)
        if self.periods > 1 and self.time is None:
            raise ValueError("periods above 1 need time, the column of times")
        return self


class ModelConfig(Section):
    """`[model]`: likelihood, affinity, saturation and prior."""

    name: str = "product"
    saturation: SaturationConfig = ExponentialSaturationConfig(name="exponential")
    slope: Literal["positive", "free"] = "positive"
    conformity: Flag = False
    affinity: AffinityConfig = EmbeddingAffinityConfig(name="embedding")
    prior: PriorConfig = ConcentratedPriorConfig(name="gamma")
    latent: Literal["item", "interaction"] = "item"
    exposure: ExposureConfig | Literal["auto", "none"] = "auto"

    @field_validator("name", mode="before")
    @classmethod
    def _name_of_class(cls, name: Any) -> Any:
        return MODELS.name_of(name)

    @field_validator("saturation", mode="before")
    @classmethod
    def _saturation_by_name(cls, saturation: Any) -> Any:
        return part_config(SATURATIONS, saturation)

    @field_validator("affinity", mode="before")
    @classmethod
    def _affinity_by_name(cls, affinity: Any) -> Any:
        return part_config(AFFINITIES, affinity)

    @field_validator("exposure", mode="before")
    @classmethod
    def _exposure_by_name(cls, exposure: Any) -> Any:
        name = exposure.get("name") if isinstance(exposure, Mapping) and len(exposure) == 1 else None
        if isinstance(name, str) and name in WITHOUT_EXPOSURE:
            return name
        is_name = isinstance(exposure, str) and exposure not in WITHOUT_EXPOSURE
        return part_config(EXPOSURES, {"name": exposure} if is_name else exposure)

    @field_validator("prior", mode="before")
    @classmethod
    def _prior_by_name(cls, prior: Any, info: ValidationInfo) -> Any:
        name = "gamma"
        drift = prior.get("drift") if isinstance(prior, Mapping) else None
        if isinstance(drift, str) and drift == WALK and "name" in info.data:  # else the name is refused
            is_real = MODELS[info.data["name"]].latents["popularity"].support is constraints.real
            name = "normal" if is_real else "lognormal"
        return part_config(PRIORS, {"name": name, **prior} if isinstance(prior, Mapping) else prior)


class GuideConfig(Section):
    """`[guide]`: the variational family."""

    name: str = "gamma"

    @field_validator("name", mode="before")
    @classmethod
    def _name_of_class(cls, name: Any) -> Any:
        return GUIDES.name_of(name)


class TrainingConfig(Section):
    """`[training]`: the optimisation."""

    epochs: Count = 40
    batch_size: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] = 4096
    learning_rate: Rate = 0.01
    schedule: Literal["constant", "linear"] = "constant"
    guide_learning_rate: Rate = 0.05
    phase_two: Annotated[int, Field(strict=True, ge=0, le=100_000)] | Literal["auto"] = "auto"
    particles: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 1
    validation: Validation = 0.1
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compile: Flag = False

    @field_validator("seed", mode="before")
    @classmethod
    def _drawn(cls, seed: Any) -> Any:
        return secrets.randbits(32) if seed is None else seed

    def runs_whole(self, *, learns_scales: bool) -> bool:
        """Return whether phase one runs all its epochs, and the last one counts: where its rate falls.

        Args:
            learns_scales: whether scales of vectors are learned, whose training has a schedule of its own.
        """
        return learns_scales or self.schedule == "linear"

    @property
    def held_out(self) -> ValidationConfig:
        """Which rows are held out, and how they judge; a number is the share of a random choice."""
        given = self.validation
        return given if isinstance(given, ValidationConfig) else ValidationConfig(share=given)
