"""Plots of a fit, and an HTML report with all of them; matplotlib is imported on first use."""

from pyro_popbias.lazy_imports import lazy_imports

__all__ = ["render", "write_report"]

__getattr__ = lazy_imports(__name__, {"html": "render write_report"})
