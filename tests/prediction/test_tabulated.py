"""A tabulated integral is close to the integral, increases, and gives way to it beyond its reach."""

import pytest
import torch
from torch.distributions import Gamma

from pyro_popbias.models import Additive, FixedScoreAffinity, GammaPrior, InverseLogistic
from pyro_popbias.prediction.tabulated import REACH, Tabulated


@torch.no_grad()
@pytest.mark.parametrize("model", [InverseLogistic, Additive])
def test_values(model):
    built = model(FixedScoreAffinity(), GammaPrior())
    distribution = Gamma(torch.tensor(0.7).double(), torch.tensor(0.7).double())

    def p(x):
        return built.marginal_probability(x, distribution)

    x = torch.cat([torch.linspace(-60, 60, 3_001), torch.tensor([-REACH, 0.0, REACH])]).double().reshape(-1, 2)
    found, expected = Tabulated(p, x)(x), p(x)
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=3e-7)
    beyond = x.abs() > REACH
    torch.testing.assert_close(found[beyond], expected[beyond], rtol=0, atol=1e-12)
    inside = x.flatten().sort().values
    assert (Tabulated(p, x)(inside[inside.abs() < 20]).diff() >= 0).all()
