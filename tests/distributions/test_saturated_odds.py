"""E[sigma(y + logit g(z))] against a sum over 100,000 nodes of log z, over saturations and families."""

import pytest
import torch
from pyro.distributions import Delta
from torch.distributions import Exponential, Gamma, LogNormal, Weibull

from pyro_popbias.distributions.saturated_odds import expected_odds
from pyro_popbias.models import SATURATIONS

FAMILIES = {
    "gamma": lambda a: Gamma(a, a),
    "exponential": lambda a: Exponential(a),
    "lognormal": lambda a: LogNormal(-a, a.clamp(max=2.0)),
    "weibull": lambda a: Weibull(a, a.clamp(0.5, 5.0)),
}
SHAPES = torch.tensor([0.2, 1.0, 6.0, 80.0], dtype=torch.float64)
OFFSETS = torch.tensor([-11.0, -6.0, -2.0, -0.1, 0.0, 1.5, 4.0], dtype=torch.float64)
BOUNDED = [name for name in SATURATIONS if SATURATIONS[name].bounded]
NODES = 100_001


def densely(saturation, offset, distribution):
    """Return e^-y E[sigma(y + logit g(z))] of offsets under one distribution."""
    log_z = torch.linspace(-120.0, 12.0, NODES, dtype=torch.float64)
    z = log_z.exp()
    weight = (distribution.log_prob(z) + log_z).exp() * (log_z[1] - log_z[0])
    logit = saturation.log(z) - saturation.log_complement(z)
    # sigma(y + l) / e^y = e^l / (1 + e^(y + l)), which does not cancel
    value = torch.exp(logit.clamp(max=600) - torch.nn.functional.softplus(offset.unsqueeze(-1) + logit.clamp(max=600)))
    return (value * weight).sum(-1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("parameter", [0.1, 1.0, 5.0])
def test_it_is_the_integral(name, family, parameter):
    saturation, z = SATURATIONS[name](parameter), FAMILIES[family](SHAPES)
    exact = torch.stack([densely(saturation, OFFSETS, FAMILIES[family](each)) for each in SHAPES])
    found = expected_odds(saturation, OFFSETS.repeat(4), z, cell_index=torch.arange(4).repeat_interleave(7))
    # the tail of z that is left out has a probability of e^-18
    error = (found.reshape(4, 7) - exact).abs()
    assert ((error <= 2e-6 * exact) | (error * OFFSETS.exp() <= 2e-8)).all()


def test_shapes_broadcast_as_tables_do():
    saturation, z = SATURATIONS["exponential"](1.0), Gamma(SHAPES, SHAPES)
    table = OFFSETS.unsqueeze(1).expand(7, 4)
    found = expected_odds(saturation, table, z)
    rows = expected_odds(saturation, table.reshape(-1), z, cell_index=torch.arange(4).repeat(7))
    torch.testing.assert_close(found, rows.reshape(7, 4), rtol=1e-12, atol=0)
    shared = expected_odds(saturation, table, Gamma(SHAPES[1], SHAPES[1]))
    torch.testing.assert_close(shared[:, 2], found[:, 1], rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", BOUNDED)
def test_a_point_has_no_integral(name):
    saturation, z = SATURATIONS[name](0.7), torch.tensor([0.3, 2.0], dtype=torch.float64)
    found = expected_odds(saturation, OFFSETS[:2], Delta(z))
    g = saturation(z)
    torch.testing.assert_close(found, 1 / ((1 - g) / g + OFFSETS[:2].exp()))
