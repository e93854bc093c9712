"""The table of variants, and a short training of everything that it allows."""

import numpy as np
import pytest
import torch
from pyro_popbias.models import PRIORS

import pyro_popbias as pb
from pyro_popbias import training
from pyro_popbias.errors import IncompatibleError
from pyro_popbias.training import train

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
def test_every_allowed_variant_trains(events, monkeypatch, model, prior, guide):
    for name, value in {"STEPS": 2, "CYCLE": 3, "MOST_CYCLES": 2}.items():
        monkeypatch.setattr(training, name, value)
    made = pb.pair(events, study=study_of(model, prior, guide))
    start = {name: value.detach().clone() for name, value in made.guide.popularity.named_parameters()}
    history = train(made)
    numbers = history.drop(columns=["elbo", "kl"] if guide == "point" else [])
    assert np.isfinite(numbers.to_numpy(dtype=float)).all()
    assert (guide == "point") == history["elbo"].isna().all()
    for name, value in made.guide.popularity.named_parameters():
        assert not torch.equal(value, start[name]), name


@pytest.mark.parametrize(("model", "prior", "guide"), REFUSED)
def test_every_other_is_refused(events, model, prior, guide):
    with pytest.raises(IncompatibleError, match=r"PB-C078: (prior|guide) .* that fit: "):
        pb.pair(events, study=study_of(model, prior, guide))
