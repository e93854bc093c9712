"""Figures of a fit, and all of them on one page; matplotlib is imported when they are first used."""

from pyro_popbias.lazy_imports import lazy_imports

__all__ = ["render", "write_report"]

__getattr__ = lazy_imports(__name__, {"html": "render write_report"})
