"""Small changes of a training, of its objective and of its draws that no other test has noticed: each breaks one of these."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from pyro import poutine
from torch import distributions as td

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.distributions.draws import draw
from pyro_popbias.models.inverse_logistic import SLOPE_SCALE
from pyro_popbias.prediction.scorer import Scorer
from pyro_popbias.training.loop import RETRIES, train
from pyro_popbias.training.optimizer import LARGE, RowAdam
from pyro_popbias.training.second_phase import PhaseTwo, PhaseTwoBatches

NONE = PhaseTwo.of(0)
POINTS = {"name": "embedding", "dim": 2, "posterior": "point"}
BAYESIAN = {"name": "embedding", "dim": 2, "posterior": "mean-field", "scale": 0.5, "user_bias": False}


@pytest.fixture(scope="module")
def events():
    return pb.simulate(users=30, items=20, interactions=600, seed=0).events


def pair_of(events, affinity=POINTS, model="product", **training):
    options = {"epochs": 1, "batch_size": 600, "validation": 0.0, "device": "cpu", **training}
    section = {"name": model, "affinity": affinity} | (
        {"saturation": {"name": "exponential", "rate": "learned"}} if model == "product" else {}
    )
    return pb.pair(events, study=pb.Study(model=section, training=options))


# priors of the likelihood's own numbers: Normal(0, 1), but for the slope of log popularity, whose own scale is declared


@pytest.mark.parametrize(
    ("model", "name", "parameter"), [("product", "rate", "log_parameter"), ("additive", "gamma", "slope_parameter")]
)
def test_slope_and_saturation_have_a_prior(events, model, name, parameter):
    made = pair_of(events, model=model)
    with torch.no_grad(), local_parameters():
        getattr(made.model, parameter).fill_(0.7)
        trace = poutine.trace(made.model).get_trace(made.whole())
    expected = td.Normal(0.0, 1.0).log_prob(torch.tensor(0.7, dtype=torch.float64))
    assert float(trace.nodes[f"{name}_prior"]["fn"].log_prob(torch.tensor(0.0)).sum()) == pytest.approx(float(expected))


def test_slope_of_log_popularity_has_a_prior(events):
    fixed = {"name": "gamma", "source": "fixed", "concentration": 2.0}
    section = {"name": "inverse-logistic", "affinity": POINTS, "conformity": True, "prior": fixed}
    made = pb.pair(events, study=pb.Study(model=section, training={"device": "cpu"}))
    value = made.model.log_slope
    with torch.no_grad():
        value.fill_(0.7)
    expected = td.Normal(0.0, SLOPE_SCALE).log_prob(torch.tensor(0.7, dtype=torch.float64))
    assert float(made.model.log_prior()["gamma"].detach()) == pytest.approx(float(expected))


# the cell of an item without a period


def test_the_cell_of_an_item_is_its_last_with_rows(events):
    frame = pd.DataFrame({"user": ["u", "v"] * 3, "item": ["a", "a", "b", "b", "c", "a"], "label": [0, 1, 1, 0, 1, 0]})
    frame["time"] = [0.0, 1.0, 0.5, 4.0, 9.0, 8.0]
    log = pb.Interactions.from_frame(frame, label="label", time="time", periods=3)
    made = pb.pair(log, study=pb.Study(model={"affinity": POINTS}, training={"validation": 0.0, "device": "cpu"}))
    scorer = Scorer(made.model, made.guide, log.catalogue, "posterior", 0.9)
    assert scorer._cell(torch.arange(3), None).tolist() == [2, 3 + 1, 6 + 2]
    assert scorer._cell(torch.arange(3), torch.tensor([0, 1, 1])).tolist() == [0, 4, 7]


# phase two: what it holds fixed counts, with its sign, and enters by draws


@torch.no_grad()
def kl_of_weights(made):
    q = made.guide.weights()
    p = made.model.prior_weights(q)
    return sum(float(td.kl_divergence(q[site], p[site]).sum()) for site in q)


def test_what_phase_two_holds_fixed_is_in_its_history(events):
    made = pair_of(events, BAYESIAN)
    with local_parameters():
        rows = PhaseTwoBatches(made)
    assert rows.kl == pytest.approx(kl_of_weights(made), rel=1e-6)
    history = train(made, phase_two=PhaseTwo(steps=1, cycle=1, epochs=1)).history
    last = history[history["phase"] == 2].iloc[-1]
    held = kl_of_weights(made)
    assert held > 5
    assert last["kl"] > held - 1e-6
    # the rest is the log prior of a few scalars
    assert abs(last["elbo"] - (last["expected_log_likelihood"] - last["kl"])) < held


def test_bayesian_affinities_enter_phase_two_by_draws(events):
    made = pair_of(events, BAYESIAN)
    with torch.no_grad(), local_parameters():
        batch = next(PhaseTwoBatches(made).batches(0))
        known = made.model.affinity.relative(batch.user, batch.item, None, made.guide.weights())
    noise = (batch.affinity - known.mean) / known.variance.sqrt()
    n = len(noise)
    assert abs(float(noise.mean())) < 5 / n**0.5
    assert abs(float(noise.square().mean()) - 1) < 5 * (2 / n) ** 0.5
    assert len(noise.unique()) > 0.9 * n


# random keys


def test_restarts_draw_anew():
    q = td.Normal(torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    first, again, other = (draw(q, draws=50, seed=0, keys=[0, 1, 2], chain=chain) for chain in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.isclose(first, other).any()


# gradients that are not finite, and the rate afterwards


def moved(events, failures):
    """Return by how much one step moves q, after some attempts whose gradient is not finite though the loss is."""
    made = pair_of(events)
    [rows] = [value for name, value in made.guide.popularity.named_parameters() if name.startswith("rows")]
    calls, before = [], rows.detach().clone()

    def broken(gradient):
        calls.append(1)
        return gradient * math.nan if len(calls) <= failures else gradient

    rows.register_hook(broken)
    train(made, phase_two=NONE)
    return float((rows.detach() - before).abs().max()), len(calls)


@pytest.mark.parametrize("failures", range(RETRIES + 1))
def test_the_rate_is_halved_on_every_retry(events, failures):
    size, calls = moved(events, failures)
    assert calls == failures + 1
    assert size == pytest.approx(
        0.05 / 2**failures, rel=1e-3
    )  # the first step of Adam is the rate, whatever the gradient


def test_gradients_that_are_never_finite_are_refused(events):
    with pytest.raises(pb.NumericalError, match=r"PB-N001.*gradient not finite in .*popularity"):
        moved(events, RETRIES + 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("large", [False, True])
def test_an_optimizer_sees_one_number_that_is_not_finite(value, large):
    shape = (LARGE // 1_000 + 1, 1_000) if large else (3, 2)
    table, scalar = torch.nn.Parameter(torch.zeros(shape)), torch.nn.Parameter(torch.zeros(()))
    optimizer = RowAdam([([table, scalar], 0.1, 0.95)])
    assert bool(optimizer.tables) == large
    read = optimizer.readers[id(table)](torch.tensor([0, 2])) if large else table[[0, 2]]
    (read.sum() + scalar).backward()
    assert optimizer.is_finite()
    [gradient] = optimizer.gradients(table)
    gradient[1, 1] = value
    assert not optimizer.is_finite()
    gradient[1, 1] = 0.0
    scalar.grad.fill_(value)
    assert not optimizer.is_finite()
