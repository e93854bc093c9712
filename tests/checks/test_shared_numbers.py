"""Numbers that data know together better than one by one."""

import numpy as np
import pytest

import pyro_popbias as pb
from pyro_popbias.checks.shared_numbers import LOUD, shared_numbers

TRAINING = {"epochs": 3, "phase_two": 4, "validation": 0, "device": "cpu"}


def fit_of(**model):
    simulation = pb.simulate("product", "linear", users=60, items=40, interactions=4_000, intercept=-1.0, seed=1)
    declared = {"name": "product", "affinity": {"name": "linear", "user_bias": False}, "exposure": "none", **model}
    return pb.fit(simulation.events, study=pb.Study(model=declared, training=TRAINING), progress=False)


@pytest.mark.slow
def test_an_intercept_and_a_rate_of_rare_positives():
    known = {"name": "gamma", "source": "fixed", "concentration": 2.0}
    fit = fit_of(prior=known, saturation={"name": "exponential", "rate": "learned"})
    (finding,) = shared_numbers(fit)
    correlation = fit.guide.shared.correlation("affinity.intercept", "log_parameter")
    assert -1 < correlation < -LOUD
    assert finding.value == pytest.approx(-correlation)
    assert finding.name in ("rate with intercept", "intercept with rate")
    assert f"posterior correlation of {correlation:.2f}" in finding.words
    assert finding.passed
    assert np.isnan(finding.bound)
    assert any(each == finding for each in fit.check().findings)


@pytest.mark.slow
def test_nothing_is_said_where_they_are_told_apart():
    assert shared_numbers(fit_of()) == ()


def test_nothing_is_said_where_it_is_not_known():
    assert shared_numbers(fit_of(affinity={"name": "embedding", "dim": 2, "posterior": "point"})) == ()
