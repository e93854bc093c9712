"""Draws of a model's parameters from their priors: all of them, or the class that forgets one is named."""

from typing import Self

import pytest
import torch
from pyro.distributions import Gamma
from pyro.nn import PyroParam
from torch.distributions import constraints

import pyro_popbias as pb
from pyro_popbias.errors import IncompatibleError
from pyro_popbias.models import MODELS, PRIORS, SharedPrior


class Forgetful(SharedPrior):
    """A prior with a parameter that it does not draw."""

    family, support = Gamma, constraints.positive

    def __init__(self) -> None:
        super().__init__()
        self.log_shape = PyroParam(torch.zeros(()).double(), constraints.real)

    @classmethod
    def from_config(cls, config) -> Self:
        return cls()

    def population(self):
        return Gamma(self.log_shape.exp(), self.log_shape.exp())

    def draw_from_prior(self):
        pass


@pytest.fixture
def forgetful(monkeypatch):
    monkeypatch.setitem(PRIORS._classes, "forgetful", Forgetful)
    return {"prior": {"name": "forgetful"}, "affinity": {"name": "embedding", "dim": 2}}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("affinity", [{"posterior": "point"}, {"posterior": "mean-field", "scale": "learned"}])
def test_every_parameter_is_drawn(events, name, affinity):
    section = {"name": name, "affinity": {"name": "embedding", "dim": 2, **affinity}}
    model = pb.pair(events, study=pb.Study(model=section)).model
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    torch.manual_seed(0)
    model.draw_parameters()
    assert before
    assert not [name for name, value in model.named_parameters() if torch.equal(value, before[name])]


def test_a_part_that_forgets_a_parameter_is_named(events, forgetful):
    model = pb.pair(events, study=pb.Study(model=forgetful)).model
    with pytest.raises(TypeError, match=r"^Forgetful\.draw_from_prior does not draw log_shape"):
        model.draw_parameters()


def test_a_prior_of_a_population_alone_has_none_for_items(events, forgetful):
    forgetful["prior"]["source"] = "log-share"
    with pytest.raises(IncompatibleError, match=r"PB-C302: Forgetful defines no `near`.*source = 'learned'"):
        pb.pair(events, study=pb.Study(model=forgetful))


@pytest.mark.parametrize("periods", [1, 3])
def test_a_prior_of_a_population_alone_is_simulated(forgetful, periods):
    options = {"prior": "forgetful", "users": 20, "items": 400, "interactions": 100, "periods": periods}
    one, same = (pb.simulate(**options, seed=4).truth["popularity"]["z"].to_numpy() for _ in range(2))
    assert (one == same).all()
    # Gamma(1, 1): mean and standard deviation 1, so that the error of the mean of 400 is .05
    assert abs(one.reshape(400, periods).mean(0) - 1).max() < 4 * 0.05
    assert len(set(one.tolist())) > 399
