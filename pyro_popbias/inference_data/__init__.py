"""A fit as ArviZ sees it: draws, predictive and log-likelihood groups, and LOO.

Names are imported when they are first used: `arviz_compat` needs neither torch nor Pyro.
"""

from pyro_popbias.lazy_imports import lazy_imports

__all__ = ["GROUPS", "Draws", "Loo", "container", "reason_against"]

__getattr__ = lazy_imports(
    __name__,
    {"convert": "GROUPS container", "loo": "Loo", "loo_conditions": "reason_against", "popularity_draws": "Draws"},
)
