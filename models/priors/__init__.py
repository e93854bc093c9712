"""Priors of popularity, one family per file."""

from pyro_popbias.models.priors.exponential import ExponentialPrior
from pyro_popbias.models.priors.gamma import GammaPrior
from pyro_popbias.models.priors.item import ItemPrior
from pyro_popbias.models.priors.lognormal import LogNormalPrior
from pyro_popbias.models.priors.normal import NormalPrior
from pyro_popbias.models.priors.prior import PRIORS, ConcentratedPrior, PopularityPrior, SharedPrior
from pyro_popbias.models.priors.random_walk import RandomWalkPrior
from pyro_popbias.models.priors.weibull import WeibullPrior

__all__ = [
    "PRIORS",
    "ConcentratedPrior",
    "ExponentialPrior",
    "GammaPrior",
    "ItemPrior",
    "LogNormalPrior",
    "NormalPrior",
    "PopularityPrior",
    "RandomWalkPrior",
    "SharedPrior",
    "WeibullPrior",
]
