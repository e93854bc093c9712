"""Every prior of the registry: its gauge, its parameter, and how a study declares it."""

import math

import pytest
import torch
from pyro import poutine
from torch.distributions import kl_divergence

import pyro_popbias as pb
from pyro_popbias.assembly.components import build, build_prior, local_parameters
from pyro_popbias.errors import ConfigError, UnknownNameError
from pyro_popbias.guides import CellStatistics
from pyro_popbias.models import PRIORS
from pyro_popbias.models.priors.prior import ConcentratedPrior
from pyro_popbias.models.priors.weibull import log_shape

CONCENTRATED = [name for name, cls in PRIORS.items() if issubclass(cls, ConcentratedPrior)]
STANDARD = [name for name in PRIORS if name not in CONCENTRATED]


def made(**section):
    return build_prior(pb.Study(model={"prior": section}).model.prior, 3)


@pytest.mark.parametrize("concentration", [1e-6, 0.05, 1.0, 2.0, 700.0, 1e6])
@pytest.mark.parametrize("name", CONCENTRATED)
def test_population_distributions_have_mean_one_and_the_variance_asked_for(name, concentration):
    distribution = made(name=name, source="fixed", concentration=concentration).population()
    assert isinstance(distribution, PRIORS[name].family)
    assert distribution.mean.item() == pytest.approx(1, rel=1e-9)
    # far from 1 the variance is a difference of gamma functions, good to fewer digits
    assert distribution.variance.item() == pytest.approx(1 / concentration, rel=1e-6)


def test_distributions_without_a_parameter():
    exponential, normal = (made(name=name).population() for name in ("exponential", "normal"))
    assert (exponential.mean.item(), exponential.variance.item()) == (1, 1)
    assert (normal.mean.item(), normal.variance.item()) == (0, 1)


@pytest.mark.parametrize("name", STANDARD)
def test_nothing_to_learn_or_to_fix(name):
    prior = made(name=name)
    assert not list(prior.parameters())
    assert not prior.state_dict()
    assert prior.estimates() == {}
    message = r"PB-C083: \[model\] prior: this prior is .* has no concentration; leave out source and concentration"
    with pytest.raises(ConfigError, match=message) as caught:
        made(name=name, source="fixed", concentration=2.0)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", CONCENTRATED)
def test_learned_concentration(name):
    with local_parameters():
        prior = made(name=name)
        with torch.no_grad():
            prior.log_concentration.fill_(0.3)
        trace = poutine.trace(prior).get_trace(torch.arange(5))
        assert trace.nodes["_RETURN"]["value"].batch_shape == (5,)
        expected = torch.distributions.Normal(math.log(2), 1.0).log_prob(torch.tensor(0.3).double())
        torch.testing.assert_close(trace.log_prob_sum(), expected, check_dtype=False)
        assert prior.estimates()["concentration"].item() == pytest.approx(math.exp(0.3))
        variance = prior.population().variance
        (slope,) = torch.autograd.grad(variance, list(prior.parameters()))
        assert slope.item() == pytest.approx(-math.exp(-0.3), rel=1e-9)  # of 1/a in log a


@pytest.mark.parametrize("name", list(PRIORS))
def test_prior_of_cells_is_the_population_distribution(name):
    prior = made(name=name)
    distribution = prior.distribution(torch.arange(3))
    assert distribution.batch_shape == (3,)
    assert isinstance(distribution, PRIORS[name].family)
    assert kl_divergence(distribution, prior.population()).abs().max() < 1e-12


def test_weibull_shape_is_differentiable_in_the_concentration():
    log_a = torch.linspace(-8, 8, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log_shape, (log_a,))
    k = log_shape(torch.tensor([0.0]).double()).exp()
    torch.testing.assert_close(k, torch.ones(1).double())  # Exponential


def test_a_prior_without_a_name_is_gamma():
    prior = pb.Study(model={"prior": {"source": "fixed", "concentration": 0.7}}).model.prior
    assert (prior.name, prior.concentration) == ("gamma", 0.7)


def test_unknown_priors():
    message = r"PB-C076: unknown prior 'lognorml'; did you mean 'lognormal'\? Priors: .*gamma.*normal"
    with pytest.raises(UnknownNameError, match=message):
        pb.Study(model={"prior": {"name": "lognorml"}})


@pytest.mark.parametrize("name", list(PRIORS))
def test_toml_round_trip(tmp_path, events, name):
    study = pb.Study(model={"name": "additive", "prior": {"name": name}}, guide={"name": "gamma"})
    study = study.replace("guide", name="normal") if name == "normal" else study
    path = tmp_path / "study.toml"
    path.write_text(study.to_toml())
    read = pb.Study.from_toml(path)
    assert read == study
    assert (
        type(build(read, events.catalogue, CellStatistics(events.catalogue.count, events.catalogue.positives))[0].prior)
        is PRIORS[name]
    )
