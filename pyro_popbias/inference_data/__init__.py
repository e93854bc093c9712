"""Conversion of a fit to ArviZ: draws, predictive and log-likelihood groups, and PSIS-LOO.

Names are imported on first use: `arviz_compat` needs neither torch nor Pyro.
"""

from pyro_popbias.lazy_imports import lazy_imports

__all__ = ["GROUPS", "Draws", "Loo", "container", "reason_against"]

__getattr__ = lazy_imports(
    __name__,
    {"convert": "GROUPS container", "loo": "Loo", "loo_conditions": "reason_against", "popularity_draws": "Draws"},
)
