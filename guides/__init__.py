"""The guides: variational families of popularity, one kind a file."""

if __name__ != "pyro_popbias.guides":
    raise ImportError(f"import this package as pyro_popbias.guides, not as {__name__!r}: it would be loaded twice")

from pyro_popbias.guides.gamma import GammaGuide
from pyro_popbias.guides.lognormal import LogNormalGuide
from pyro_popbias.guides.popularity_guide import GUIDES, PopularityGuide, same_support

__all__ = ["GUIDES", "GammaGuide", "LogNormalGuide", "PopularityGuide", "same_support"]
