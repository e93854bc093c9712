"""Probability distributions, KL divergences and expectations in pure torch, independent of recommenders.

Importing this package registers the analytic KL divergences with `torch.distributions.kl_divergence`.
"""

from pyro_popbias.distributions import chains as _chains  # noqa: F401  registers its pairs, after those of `kl`
from pyro_popbias.distributions import kl as _kl  # noqa: F401  registers the pairs
from pyro_popbias.distributions.bernoulli import LogitBernoulli, ProductBernoulli
from pyro_popbias.distributions.cumulative import cumulative
from pyro_popbias.distributions.draws import draw
from pyro_popbias.distributions.expectation import closed_form, expectation, register_expectation
from pyro_popbias.distributions.log_expectation import log_expectation
from pyro_popbias.distributions.log_logistic import log_expected_inverse_logistic, log_expected_logistic
from pyro_popbias.distributions.logistic import log_logistic_normal, logistic_normal
from pyro_popbias.distributions.logistic_approximations import approximate_logistic_normal
from pyro_popbias.distributions.logistic_integrals import expected_inverse_logistic, expected_logistic
from pyro_popbias.distributions.quantile import quantile
from pyro_popbias.distributions.selection import take

__all__ = [
    "LogitBernoulli",
    "ProductBernoulli",
    "approximate_logistic_normal",
    "closed_form",
    "cumulative",
    "draw",
    "expectation",
    "expected_inverse_logistic",
    "expected_logistic",
    "log_expectation",
    "log_expected_inverse_logistic",
    "log_expected_logistic",
    "log_logistic_normal",
    "logistic_normal",
    "quantile",
    "register_expectation",
    "take",
]
