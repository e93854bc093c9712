"""The table of variants, and a short training of everything that it allows."""

import numpy as np
import pytest
import torch
from pyro.distributions import HalfNormal
from torch.distributions import constraints

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError, IncompatibleError
from pyro_popbias.guides import GammaGuide, RowGuide
from pyro_popbias.models import PRIORS, SATURATIONS, ExponentialSaturation, Product, Saturation
from pyro_popbias.training.loop import train
from pyro_popbias.training.second_phase import PhaseTwo

TABLE = pb.variants()
ALLOWED = TABLE[TABLE["allowed"]][["model", "prior", "guide"]].to_numpy().tolist()
REFUSED = TABLE[~TABLE["allowed"]][["model", "prior", "guide"]].to_numpy().tolist()


def study_of(model, prior, guide):
    return pb.Study(
        model={"name": model, "prior": {"name": prior}, "affinity": {"name": "embedding", "dim": 2}},
        guide={"name": guide},
        training={"epochs": 2, "batch_size": 200, "device": "cpu"},
    )


def test_columns_and_rows():
    assert list(TABLE.columns) == ["model", "prior", "guide", "allowed", "kl", "intervention", "reason"]
    assert len(TABLE) == len(pb.MODELS) * len(PRIORS) * len(pb.GUIDES)
    assert set(TABLE["kl"]) == {"analytic", "sampled", "refused"}
    assert ((TABLE["kl"] == "refused") == ~TABLE["allowed"]).all()
    assert ((TABLE["reason"] == "") == TABLE["allowed"]).all()


def test_closed_interventions():
    closed = TABLE[TABLE["intervention"] == "closed"][["model", "prior"]].drop_duplicates().to_numpy().tolist()
    assert sorted(map(tuple, closed)) == [
        ("additive", "normal"),
        ("inverse-logistic", "lognormal"),
        ("pda", "exponential"),
        ("pda", "gamma"),
        ("pda", "lognormal"),
        ("pda", "weibull"),
        ("product", "exponential"),
        ("product", "gamma"),
    ]


@pytest.mark.parametrize(("model", "prior", "guide"), ALLOWED)
def test_every_allowed_variant_trains(events, model, prior, guide):
    made = pb.pair(events, study=study_of(model, prior, guide))
    start = {name: value.detach().clone() for name, value in made.guide.popularity.named_parameters()}
    history = train(made, phase_two=PhaseTwo(steps=2, cycle=3, most_cycles=2)).history
    numbers = history.drop(columns=["elbo", "kl"] if guide == "point" else [])
    assert np.isfinite(numbers.to_numpy(dtype=float)).all()
    assert (guide == "point") == history["elbo"].isna().all()
    for name, value in made.guide.popularity.named_parameters():
        assert not torch.equal(value, start[name]), name


@pytest.mark.parametrize(("model", "prior", "guide"), REFUSED)
def test_every_other_is_refused(events, model, prior, guide):
    with pytest.raises(IncompatibleError, match=r"PB-C078: (prior|guide) .* that fit: "):
        pb.pair(events, study=study_of(model, prior, guide))


@pytest.fixture
def half_normal(monkeypatch):
    """Register a guide of a family whose KL to the priors has no closed form, and return its class."""

    class HalfNormalGuide(RowGuide):
        family, columns, support = HalfNormal, ("log_scale",), constraints.positive

        @classmethod
        def start(cls, prior):
            return torch.zeros(1).double()

        @classmethod
        def from_rows(cls, rows):
            return HalfNormal(rows.squeeze(-1).exp())

    monkeypatch.setitem(pb.GUIDES._classes, "half-normal", HalfNormalGuide)
    return HalfNormalGuide


def test_a_guide_without_a_closed_kl_is_refused_unless_it_declares_a_sampled_one(events, half_normal, monkeypatch):
    rows = pb.variants().query("guide == 'half-normal' and model == 'product' and prior != 'normal'")
    assert (rows["kl"] == "refused").all()
    assert rows["reason"].str.contains("has no closed form, and the guide declares no sampled one").all()
    with pytest.raises(
        IncompatibleError, match=r"PB-C105: the KL of guide 'half-normal' to prior 'gamma' has no closed"
    ):
        pb.pair(events, guide="half-normal")
    monkeypatch.setattr(half_normal, "kl", "sampled")
    rows = pb.variants().query("guide == 'half-normal' and model == 'product' and prior != 'normal'")
    assert (rows["kl"] == "sampled").all()
    assert pb.pair(events, guide="half-normal").objective.kl == "sampled"


def test_a_registered_class_stands_for_its_name(events):
    made = pb.pair(events, model=Product, guide=GammaGuide)
    assert (made.study.model.name, made.study.guide.name) == ("product", "gamma")
    with pytest.raises(ConfigError, match=r"PB-C300: guide class RowGuide is not registered; register it"):
        pb.pair(events, guide=RowGuide)


def test_a_model_with_a_saturation_of_its_own_starts_with_it(events, monkeypatch):
    class Squared(Saturation):
        parameter_name, config, slope = "rate", ExponentialSaturation.config, torch.ones(())
        log = log_complement = __call__ = ExponentialSaturation.__call__

    monkeypatch.setitem(SATURATIONS._classes, "squared", Squared)
    monkeypatch.setattr(Product, "default_saturation", Squared)
    assert pb.pair(events).study.model.saturation.name == "squared"
    with pytest.raises(IncompatibleError, match=r"PB-C081: .*'power'; saturations that fit: .*squared"):
        pb.pair(events, study=pb.Study(model={"saturation": {"name": "power"}}))
