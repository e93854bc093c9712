"""Studies: everything that decides a fit but the data, as values that are checked when they are made."""

from pyro_popbias.study.study import Study

__all__ = ["Study"]
