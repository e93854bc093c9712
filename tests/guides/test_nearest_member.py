"""Where guides start: the member of the family nearest to the prior, for every pair of families."""

from itertools import product

import pytest
import torch
from torch.distributions import Exponential, Gamma, LogNormal, Weibull, constraints, kl_divergence

from pyro_popbias import GUIDES
from pyro_popbias.guides import RowGuide
from pyro_popbias.guides.nearest_member import nearest
from pyro_popbias.models import PRIORS
from pyro_popbias.models.priors.prior import ConcentratedPrior

CONCENTRATIONS = [0.05, 0.2, 1.0, 2.0, 30.0, 500.0]
PAIRS = [
    (guide, prior)
    for guide, prior in product(GUIDES, PRIORS)
    if guide != "point" and issubclass(GUIDES[guide], RowGuide) and GUIDES[guide].fits(PRIORS[prior].support)
]
POSITIVE = [name for name, cls in GUIDES.items() if issubclass(cls, RowGuide) and cls.fits(constraints.positive)]
CONTAINS = {("gamma", "exponential"), ("weibull", "exponential")}  # a family that has the prior as a member


def population(name, concentration):
    cls = PRIORS[name]
    return (cls(concentration) if issubclass(cls, ConcentratedPrior) else cls()).population()


def divergence(guide, prior, rows):
    rows = rows.clone().requires_grad_()
    value = kl_divergence(GUIDES[guide].from_rows(rows), prior)
    return value.detach(), torch.autograd.grad(value.sum(), rows)[0]


@pytest.mark.parametrize("concentration", CONCENTRATIONS)
@pytest.mark.parametrize(("guide", "prior"), PAIRS)
def test_start_is_the_nearest_member(guide, prior, concentration):
    distribution = population(prior, concentration)
    rows = GUIDES[guide].start(distribution)
    assert rows.shape == (len(GUIDES[guide].columns),)
    value, slope = divergence(guide, distribution, rows)
    assert slope.abs().max() < 1e-6
    assert value > -1e-12
    if guide == prior or (guide, prior) in CONTAINS:
        assert value < 1e-9
    for step in 0.3 * torch.cat([torch.eye(len(rows)), -torch.eye(len(rows))]).double():
        assert divergence(guide, distribution, rows + step)[0] > value


@pytest.mark.parametrize("guide", POSITIVE)
@pytest.mark.parametrize("family", [Gamma, Exponential, LogNormal, Weibull])
def test_a_batch_starts_as_its_distributions_do(guide, family):
    numbers = {
        name: torch.tensor([0.4, 1.0, 3.0]).double() + 0.1 * place for place, name in enumerate(family.arg_constraints)
    }
    rows = GUIDES[guide].start(family(**numbers))
    alone = [GUIDES[guide].start(family(**{name: each[k] for name, each in numbers.items()})) for k in range(3)]
    torch.testing.assert_close(rows, torch.stack(alone), rtol=1e-9, atol=1e-9)


def test_the_search_leaves_a_start_where_the_kl_is_concave():
    distribution = Gamma(torch.tensor([2.0, 0.3]).double(), torch.tensor([2.0, 0.3]).double())
    far = torch.tensor([[4.0, -3.0], [-6.0, 1.0]]).double()
    start = GUIDES["lognormal"].start(distribution)
    torch.testing.assert_close(nearest(GUIDES["lognormal"].from_rows, far, distribution), start, rtol=1e-9, atol=1e-9)


def test_weibull_concentrations_have_a_floor():
    distribution = GUIDES["weibull"].from_rows(torch.tensor([[0.0, -800.0], [0.0, 0.0]]).double())
    torch.testing.assert_close(distribution.concentration, torch.tensor([0.1, 1.1]).double())
    low = Weibull(torch.tensor(1.0).double(), torch.tensor(0.05).double())
    assert GUIDES["weibull"].from_rows(GUIDES["weibull"].start(low)).concentration == pytest.approx(0.1, rel=1e-2)
