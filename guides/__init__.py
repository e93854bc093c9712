"""The guides: variational families of popularity, one kind per file."""

if __name__ != "pyro_popbias.guides":
    raise ImportError(f"import this package as pyro_popbias.guides, not as {__name__!r}: it would be loaded twice")

from pyro_popbias.guides.affinity_guide import AffinityGuide
from pyro_popbias.guides.amortized_guide import (
    AmortizedGammaGuide,
    AmortizedGuide,
    AmortizedLogNormalGuide,
    AmortizedNormalGuide,
)
from pyro_popbias.guides.auto_guide import AutoLowRankGuide, AutoNormalGuide, JointCellsGuide
from pyro_popbias.guides.exponential import ExponentialGuide
from pyro_popbias.guides.gamma import GammaGuide
from pyro_popbias.guides.global_response import GlobalResponse, weight_name
from pyro_popbias.guides.intercept_response import InterceptResponse
from pyro_popbias.guides.joint_guide import JointGuide
from pyro_popbias.guides.lognormal import LogNormalGuide
from pyro_popbias.guides.markov import MarkovGuide
from pyro_popbias.guides.normal import NormalGuide
from pyro_popbias.guides.point import PointGuide
from pyro_popbias.guides.popularity_guide import GUIDES, Bounds, CellStatistics, PopularityGuide
from pyro_popbias.guides.quality_response import QualityResponse
from pyro_popbias.guides.row_guide import RowGuide
from pyro_popbias.guides.weibull import WeibullGuide

__all__ = [
    "GUIDES",
    "AffinityGuide",
    "AmortizedGammaGuide",
    "AmortizedGuide",
    "AmortizedLogNormalGuide",
    "AmortizedNormalGuide",
    "AutoLowRankGuide",
    "AutoNormalGuide",
    "Bounds",
    "CellStatistics",
    "ExponentialGuide",
    "GammaGuide",
    "GlobalResponse",
    "InterceptResponse",
    "JointCellsGuide",
    "JointGuide",
    "LogNormalGuide",
    "MarkovGuide",
    "NormalGuide",
    "PointGuide",
    "PopularityGuide",
    "QualityResponse",
    "RowGuide",
    "WeibullGuide",
    "weight_name",
]
