"""The Pyro models: one variant per file, put together from an affinity, a saturation and a prior of popularity."""

if __name__ != "pyro_popbias.models":
    raise ImportError(f"import this package as pyro_popbias.models, not as {__name__!r}: it would be loaded twice")

from pyro_popbias.models.additive import Additive
from pyro_popbias.models.affinities.affinity import AFFINITIES, Affinity, AffinityConfig
from pyro_popbias.models.affinities.bayesian_embedding import BayesianEmbeddingAffinity
from pyro_popbias.models.affinities.distribution import AffinityDistribution
from pyro_popbias.models.affinities.embedding import EmbeddingAffinity
from pyro_popbias.models.affinities.factorization import FactorizationAffinity
from pyro_popbias.models.affinities.fixed import FixedScoreAffinity, FixedVectorAffinity
from pyro_popbias.models.affinities.latents import AffinityLatent, Weights
from pyro_popbias.models.affinities.linear import LinearAffinity
from pyro_popbias.models.affinities.memory import Memory
from pyro_popbias.models.conformity import Conformity
from pyro_popbias.models.exposures import EXPOSURES, Exposure, ExposureConfig, NegativeBinomialExposure, PoissonExposure
from pyro_popbias.models.inverse_logistic import InverseLogistic
from pyro_popbias.models.learned_scalars import scalars
from pyro_popbias.models.options import LikelihoodOptions
from pyro_popbias.models.pda import PDA
from pyro_popbias.models.popularity_model import MODELS, Latent, PopularityModel
from pyro_popbias.models.priors.config import PriorConfig
from pyro_popbias.models.priors.exponential import ExponentialPrior
from pyro_popbias.models.priors.gamma import GammaPrior
from pyro_popbias.models.priors.item import ItemPrior
from pyro_popbias.models.priors.lognormal import LogNormalPrior
from pyro_popbias.models.priors.normal import NormalPrior
from pyro_popbias.models.priors.prior import PRIORS, ConcentratedPrior, PopularityPrior, SharedPrior
from pyro_popbias.models.priors.random_walk import RandomWalkPrior
from pyro_popbias.models.priors.weibull import WeibullPrior
from pyro_popbias.models.product import Product
from pyro_popbias.models.saturated_model import SaturatedModel
from pyro_popbias.models.saturation import (
    ExponentialSaturation,
    HillSaturation,
    PowerSaturation,
    Saturation,
    TanhSaturation,
)
from pyro_popbias.models.saturations import expectations as _saturation_expectations  # noqa: F401  registers the pairs
from pyro_popbias.models.saturations.saturation import SATURATIONS, SaturationConfig

__all__ = [
    "AFFINITIES",
    "EXPOSURES",
    "MODELS",
    "PDA",
    "PRIORS",
    "SATURATIONS",
    "Additive",
    "Affinity",
    "AffinityConfig",
    "AffinityDistribution",
    "AffinityLatent",
    "BayesianEmbeddingAffinity",
    "ConcentratedPrior",
    "Conformity",
    "EmbeddingAffinity",
    "ExponentialPrior",
    "ExponentialSaturation",
    "Exposure",
    "ExposureConfig",
    "FactorizationAffinity",
    "FixedScoreAffinity",
    "FixedVectorAffinity",
    "GammaPrior",
    "HillSaturation",
    "InverseLogistic",
    "ItemPrior",
    "Latent",
    "LikelihoodOptions",
    "LinearAffinity",
    "LogNormalPrior",
    "Memory",
    "NegativeBinomialExposure",
    "NormalPrior",
    "PoissonExposure",
    "PopularityModel",
    "PopularityPrior",
    "PowerSaturation",
    "PriorConfig",
    "Product",
    "RandomWalkPrior",
    "SaturatedModel",
    "Saturation",
    "SaturationConfig",
    "SharedPrior",
    "TanhSaturation",
    "WeibullPrior",
    "Weights",
    "scalars",
]
