"""The sections of priors in a study: where their numbers come from."""

import os
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from pyro_popbias.validation import PartConfig, Positive

COUNTED = ("counts", "share", "log-share")
POSTERIOR = "posterior"  # of an earlier fit
ITEM_SOURCES = (*COUNTED, POSTERIOR)  # of a prior with a distribution for each cell
DRIFT = 0.25  # of log popularity, from the counts' time to the labels', where it cannot be estimated
WALK = "random-walk"

Drift = Annotated[float, Field(strict=True, ge=0.0, le=10.0, allow_inf_nan=False)]


class PriorConfig(PartConfig):
    """Base of the sections of priors, and that of a prior without a concentration.

    Attributes:
        described: the prior in a few words, for messages.
        walks: whether popularity may walk in time from this prior.
    """

    described: ClassVar[str] = "a distribution of its own"
    walks: ClassVar[bool] = False

    source: Literal["learned", "population", "counts", "share", "log-share", "fixed", "posterior"] = "learned"
    concentration: Positive | None = None
    counts: Any = None
    drift: Drift | Literal["random-walk"] | None = None

    @field_validator("counts")
    @classmethod
    def _path_or_table(cls, counts: Any) -> Any:
        if isinstance(counts, os.PathLike):
            return os.fspath(counts)
        if counts is None or isinstance(counts, str) or hasattr(counts, "__arrow_c_stream__"):
            return counts
        raise ValueError("counts is the path of a file or, in Python, a table")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.source == "counts" and self.counts is None:
            raise ValueError(
                "source = 'counts' needs counts, a file of other rows than those that are fitted: counts of the labels "
                "themselves would be used twice, and 95 % intervals of popularity then cover 84 %"
            )
        if self.counts is not None and self.source not in COUNTED:
            raise ValueError(f"counts goes with source = {', '.join(map(repr, COUNTED))}")
        self._check_drift()
        if self.source == "counts" and self.drift is None:
            # not among the keys that were given: where counts are a log with times, an estimate takes its place
            self.__dict__["drift"] = DRIFT
        self.check_concentration()
        return self

    def _check_drift(self) -> None:
        if self.drift == WALK:
            if not self.walks or self.source not in ("learned", "fixed"):
                raise ValueError(
                    f"drift = {WALK!r} goes with the prior lognormal (or normal, of a real popularity) and source = 'learned' "
                    f"or 'fixed', not with prior {self.name!r} and source = {self.source!r}"
                )
        elif self.drift is not None and self.source not in ("counts", POSTERIOR):
            raise ValueError(
                f"drift goes with source = 'counts' as a number, and is {WALK!r} where popularity walks in time"
            )

    def check_concentration(self) -> None:
        """Refuse a concentration, and a source that would give one.

        Raises:
            ValueError: one is given.
        """
        if self.source == "population":
            raise ValueError(
                f"this prior is {self.described} and has no concentration that source = 'population' could give; leave out "
                "source, or use gamma, lognormal or weibull"
            )
        if self.source == "fixed" or self.concentration is not None:
            raise ValueError(
                f"this prior is {self.described} and has no concentration; leave out source and concentration"
            )


class ConcentratedPriorConfig(PriorConfig):
    """The section of a prior whose concentration is learned, given, or found by counts."""

    def check_concentration(self) -> None:
        """Refuse a concentration without source = "fixed", and that source without one.

        Raises:
            ValueError: only one of both is given.
        """
        if (self.source == "fixed") != (self.concentration is not None):
            raise ValueError("concentration goes with source = 'fixed', and source = 'fixed' needs it")


class ExponentialPriorConfig(PriorConfig):
    """z ~ Exponential(1)."""

    described = "Exponential(1)"


class LogNormalPriorConfig(ConcentratedPriorConfig):
    """z ~ LogNormal with E[z] = 1."""

    walks = True


class NormalPriorConfig(PriorConfig):
    """z ~ Normal(0, 1), for a popularity on the real line."""

    walks = True
    described = "Normal(0, 1)"
