"""The Pyro models: one variant a file, put together from an affinity, a saturation and a prior of popularity."""

if __name__ != "pyro_popbias.models":
    raise ImportError(f"import this package as pyro_popbias.models, not as {__name__!r}: it would be loaded twice")

from pyro_popbias.models import saturation_expectations as _saturation_expectations  # noqa: F401  registers the pairs
from pyro_popbias.models.additive import Additive
from pyro_popbias.models.affinity import Affinity, EmbeddingAffinity, FixedScoreAffinity, FixedVectorAffinity
from pyro_popbias.models.inverse_logistic import InverseLogistic
from pyro_popbias.models.popularity_model import MODELS, Latent, Options, PopularityModel
from pyro_popbias.models.prior import GammaPrior, PopularityPrior
from pyro_popbias.models.product import Product
from pyro_popbias.models.saturation import (
    ExponentialSaturation,
    HillSaturation,
    PowerSaturation,
    Saturation,
    TanhSaturation,
)

__all__ = [
    "MODELS",
    "Additive",
    "Affinity",
    "EmbeddingAffinity",
    "ExponentialSaturation",
    "FixedScoreAffinity",
    "FixedVectorAffinity",
    "GammaPrior",
    "HillSaturation",
    "InverseLogistic",
    "Latent",
    "Options",
    "PopularityModel",
    "PopularityPrior",
    "PowerSaturation",
    "Product",
    "Saturation",
    "TanhSaturation",
]
