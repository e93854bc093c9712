"""Probability laws, their divergences and expectations: pure torch, without a word of recommenders.

Importing this package registers the analytic KL divergences with `torch.distributions.kl_divergence`.
"""

from pyro_popbias.distributions import kl as _kl  # noqa: F401  registers the pairs
from pyro_popbias.distributions.bernoulli import ProductBernoulli
from pyro_popbias.distributions.expectation import closed_form, expectation, register_expectation
from pyro_popbias.distributions.quantile import quantile

__all__ = ["ProductBernoulli", "closed_form", "expectation", "quantile", "register_expectation"]
