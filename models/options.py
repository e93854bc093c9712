"""The options of a likelihood."""

from dataclasses import dataclass
from typing import Literal

from pyro_popbias.models.saturations.saturation import Saturation


@dataclass(frozen=True)
class LikelihoodOptions:
    """The options of a likelihood that a study sets; each model uses those it has.

    Attributes:
        saturation: g, with its parameter's value or start.
        saturation_learned: whether that parameter is learned.
        slope: sign of popularity's slope in an additive logit.
        conformity: whether users differ in that slope, of mean gamma.
    """

    saturation: Saturation
    saturation_learned: bool
    slope: Literal["positive", "free"]
    conformity: bool = False
