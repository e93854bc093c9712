"""Faults that are built in on purpose: what `accuracy` demands must fail under each of them, and hold without."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import kl_divergence

import pyro_popbias as pb
from pyro_popbias.checks.accuracy import accuracy
from pyro_popbias.data.batches import TrainingBatches
from pyro_popbias.guides import AutoNormalGuide, LogNormalGuide
from pyro_popbias.objective import Objective

pytestmark = pytest.mark.slow

KL, FINISH = Objective._kl, TrainingBatches._finish


def double_kl(self, name, model_trace, guide_trace):
    return 2 * KL(self, name, model_trace, guide_trace)


def without_jacobian(self, name, model_trace, guide_trace):
    """The KL of Pyro's own TraceMeanField_ELBO, which forgets the density that an autoguide's Delta carries."""
    q, p = guide_trace.nodes[name], model_trace.nodes[name]
    return (q["scale"] * kl_divergence(q["fn"], p["fn"])).sum()


def half_likelihood(self, table, known, *, scale):
    batch = FINISH(self, table, known, scale=scale)
    return replace(batch, scale=0.5 * batch.scale)


def weights_of_one(self, table, known, *, scale):
    batch = FINISH(self, table, known, scale=scale)
    return replace(batch, weight=torch.ones_like(batch.weight))


def kl_once_an_interaction(self, table, known, *, scale):
    batch = FINISH(self, table, known, scale=scale)
    return replace(batch, weight=batch.weight * self.cell_count[batch.cell])


MUTATIONS = {
    "KL x 2": ("lognormal", Objective, "_kl", double_kl),
    "likelihood x 0.5": ("lognormal", TrainingBatches, "_finish", half_likelihood),
    "dropped Jacobian": ("auto-normal", Objective, "_kl", without_jacobian),
    "wrong plate scale: weights of one": ("lognormal", TrainingBatches, "_finish", weights_of_one),
    "wrong plate scale: KL once an interaction": ("lognormal", TrainingBatches, "_finish", kl_once_an_interaction),
}


@pytest.fixture(scope="module")
def events_and_study():
    simulation = pb.simulate(affinity="embedding", users=200, items=60, interactions=3_000, seed=0)
    vectors = {name: simulation.truth[name] for name in ("user_vectors", "item_vectors")}
    study = pb.Study(
        model={
            "affinity": {"name": "fixed", **vectors},
            "prior": {"name": "gamma", "source": "fixed", "concentration": 2.0},
        },
        training={"validation": 0.0, "epochs": 8, "device": "cpu"},
    )
    return simulation.events, study


@pytest.fixture
def finding_of(events_and_study, monkeypatch, phase_two_as):
    """Return a function: guide to the finding of its mean KL."""
    # q of auto-normal is a LogNormal a cell, so that it must reach what that family reaches
    monkeypatch.setattr(AutoNormalGuide, "bounds", LogNormalGuide.bounds)
    events, study = events_and_study

    def of(guide):
        fit = pb.fit(events, study=study, guide=guide, progress=False)
        return accuracy(fit).findings()[0]

    with phase_two_as(steps=20, most_cycles=2):
        yield of


@pytest.mark.parametrize("guide", sorted({guide for guide, *_ in MUTATIONS.values()}))
def test_without_a_fault_the_bound_holds(finding_of, guide):
    finding = finding_of(guide)
    assert finding.name == "mean KL"
    assert finding.passed, finding.words


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_fault_is_found(finding_of, monkeypatch, mutation):
    guide, owner, name, fault = MUTATIONS[mutation]
    monkeypatch.setattr(owner, name, fault)
    finding = finding_of(guide)
    assert not finding.passed, finding.words
