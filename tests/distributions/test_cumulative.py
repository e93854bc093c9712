import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Gamma, InverseGamma, LogNormal, Normal, Weibull

from pyro_popbias.distributions import cumulative, quantile

Z = np.array([0.2, 0.7, 1.1, 3.0])


def full(family, *numbers):
    return family(*(torch.full((len(Z),), number, dtype=torch.float64) for number in numbers))


@pytest.mark.parametrize(
    ("distribution", "exact"),
    [
        (full(Gamma, 2.0, 1.5), stats.gamma(2.0, scale=1 / 1.5)),
        (full(LogNormal, -0.2, 0.6), stats.lognorm(0.6, scale=np.exp(-0.2))),
        (full(Weibull, 1.2, 1.7), stats.weibull_min(1.7, scale=1.2)),
        (full(Normal, 0.3, 2.0), stats.norm(0.3, 2.0)),
    ],
)
def test_families_of_torch(distribution, exact):
    np.testing.assert_allclose(cumulative(distribution, torch.from_numpy(Z)), exact.cdf(Z), rtol=1e-12)


class Densities(InverseGamma):
    """A family with a density alone."""

    def cdf(self, value):
        raise NotImplementedError


def test_a_family_without_one_by_its_density():
    exact = stats.invgamma(3.0, scale=2.0)
    found = cumulative(full(Densities, 3.0, 2.0), torch.from_numpy(Z))
    np.testing.assert_allclose(found, exact.cdf(Z), atol=2e-3)


@pytest.mark.parametrize("probability", [0.01, 0.3, 0.5, 0.95])
@pytest.mark.parametrize("family", [Gamma, Weibull, Densities])
def test_it_is_the_inverse_of_the_quantile(family, probability):
    distribution = full(family, 2.5, 1.5)
    found = cumulative(distribution, quantile(distribution, probability))
    np.testing.assert_allclose(found, probability, atol=1e-6 if family is not Densities else 2e-3)
