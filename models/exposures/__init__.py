"""Exposure: how often items are logged, as data about their popularity, one distribution of counts per file."""

from pyro_popbias.models.exposures.exposure import EXPOSURES, Exposure, ExposureConfig
from pyro_popbias.models.exposures.negative_binomial import NegativeBinomialExposure
from pyro_popbias.models.exposures.poisson import PoissonExposure

__all__ = ["EXPOSURES", "Exposure", "ExposureConfig", "NegativeBinomialExposure", "PoissonExposure"]
