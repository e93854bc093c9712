import copy

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.assembly.pair import pair
from pyro_popbias.errors import NumericalError
from pyro_popbias.training import loop
from pyro_popbias.training.loop import RETRIES
from pyro_popbias.training.second_phase import PhaseTwo
from pyro_popbias.training.state import HISTORY

EPOCHS = 3
SHORT = PhaseTwo(steps=2, cycle=3, epochs=9)


class Killed(Exception):
    """What stops a training in the middle."""


def train(made, **options):
    return loop.train(made, phase_two=SHORT, **options)


@pytest.fixture(params=pb.GUIDES)
def make(request, events, model_for):
    def make(posterior="mean-field", **options):
        model = {**model_for(request.param), "affinity": {"name": "embedding", "dim": 4, "posterior": posterior}}
        if model["name"] == "product":
            model["saturation"] = {"name": "exponential", "rate": "learned"}
        study = pb.Study(
            model=model,
            guide={"name": request.param},
            training={"epochs": EPOCHS, "batch_size": 150, "device": "cpu", **options},
        )
        return pair(events, study=study)

    return make


def state(made):
    return {f"{part}.{k}": v for part in ("model", "guide") for k, v in getattr(made, part).state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def without_clock(history):
    return history.drop(columns="seconds")


@pytest.mark.slow
def test_history(make):
    made = make()
    before, random = copy.deepcopy(state(made)), torch.get_rng_state()
    history = train(made).history
    if made.guide.popularity.maximises == "log_joint":
        assert history[["elbo", "kl"]].isna().all(axis=None)
        history = history.assign(elbo=history.pop("log_joint"), kl=0.0)
    assert tuple(history.columns) == HISTORY
    assert history["phase"].tolist() == sorted(history["phase"])
    first, second = (history[history["phase"] == phase] for phase in (1, 2))
    assert first["epoch"].tolist() == list(range(1, EPOCHS + 1))
    assert second["epoch"].tolist() == list(range(1, len(second) + 1))
    assert np.isfinite(history.to_numpy(dtype=float)).all()
    assert (history["kl"] >= 0).all()
    assert (history["validation_log_score"] < 0).all()
    parts = first["expected_log_likelihood"] - first["kl"]
    assert (first["elbo"] < parts).all()  # by the log prior of the vectors
    assert second["learning_rate"].iloc[2] == pytest.approx(0.05 / SHORT.fall)
    after = state(made)
    assert all(not torch.equal(before[name], after[name]) for name in before if name.endswith("_unconstrained"))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.requires_grad for parameter in made.model.parameters())


@pytest.mark.slow
def test_same_seed_same_numbers(make):
    runs = []
    for seed in (5, 5, 6):
        torch.manual_seed(len(runs))  # the global state must not matter
        made = make(seed=seed)
        runs.append((without_clock(train(made).history), state(made)))
    pd.testing.assert_frame_equal(runs[0][0], runs[1][0], check_exact=True)
    assert_same(runs[0][1], runs[1][1])
    learned = [name for name in runs[0][1] if name.startswith("guide.popularity") and name.endswith("_unconstrained")]
    assert learned
    assert not any(torch.equal(runs[0][1][name], runs[2][1][name]) for name in learned)


def test_phase_two_holds_the_vectors_and_goes_on_with_the_scalars(make):
    made, seen = make(), {}

    def on_epoch(progress):
        if progress.phase == 2:
            seen.setdefault("model", copy.deepcopy(made.model.state_dict()))

    train(made, on_epoch=on_epoch)
    after = made.model.state_dict()
    for name, before in seen["model"].items():
        # the biases of users are held as vectors are, and their scale with them
        learned = name.endswith("_unconstrained") and "user_bias" not in name
        assert torch.equal(after[name], before) != (learned and before.dim() == 0), name


@pytest.mark.slow
@pytest.mark.parametrize("validation", [0.0, 0.2])
def test_resume_continues_bit_for_bit(make, validation):
    whole = make(validation=validation)
    history = train(whole).history
    for stop in ((1, 1), (1, 2), (2, 0), (2, 4)):  # phase, epochs done in it
        saved = []

        def kill(progress, stop=stop):
            if (progress.phase, progress.epoch) == stop:
                raise Killed("stopped")

        with pytest.raises(Killed, match="stopped"):
            train(make(validation=validation), on_epoch=kill, save=lambda each: saved.append(copy.deepcopy(each)))  # noqa: B023
        resumed = make(validation=validation)
        rest = train(resumed, resume=saved[-1]).history
        pd.testing.assert_frame_equal(without_clock(rest), without_clock(history), check_exact=True)
        assert_same(state(resumed), state(whole))


@pytest.mark.slow
def test_resume_of_a_finished_training_does_nothing(make):
    saved, made = [], make()
    history = train(made, save=lambda snapshot: saved.append(copy.deepcopy(snapshot))).history
    again = make()
    pd.testing.assert_frame_equal(train(again, resume=saved[-1]).history, history)
    assert_same(state(again), state(made))


def broken_loss(made, monkeypatch, times):
    """Make the loss NaN the first `times` times; return the count of evaluations."""
    calls, right = [], type(made.objective).differentiable_loss

    def loss(self, *args, **kwargs):
        calls.append(1)
        value = right(self, *args, **kwargs)
        return value * float("nan") if len(calls) <= times else value

    monkeypatch.setattr(type(made.objective), "differentiable_loss", loss)
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, RETRIES])
def test_non_finite_batch_is_drawn_again(make, monkeypatch, times):
    made = make()
    calls = broken_loss(made, monkeypatch, times)
    history = train(made).history
    assert np.isfinite(history[made.guide.popularity.maximises]).all()
    steps = EPOCHS * len(list(made.batches())) + SHORT.steps * (history["phase"] == 2).sum()
    assert len(calls) == steps + times + 2  # phase two asks once what known affinities leave out, with and without them


def test_numerical_error_leaves_parameters_as_they_were(make, monkeypatch):
    made = make()
    before = copy.deepcopy(state(made))
    broken_loss(made, monkeypatch, RETRIES + 1)
    message = (
        r"PB-N001: in phase 1, epoch 1, step 0 the loss was nan and the gradient not finite in .*guide.*lower training"
    )
    with pytest.raises(NumericalError, match=message) as caught:
        train(made)
    assert caught.value.exit_code == 4
    assert isinstance(caught.value, ArithmeticError)
    assert_same(before, state(made))


@pytest.mark.slow
def test_early_stopping_goes_back_to_the_best_epoch(make, monkeypatch):
    scores = iter([-0.9, -0.5, -0.6, -0.7, -0.8])
    monkeypatch.setattr(loop, "log_score", lambda *_: next(scores, -1.0))
    made, states = make("point", epochs=50), []
    saved = {}

    def on_epoch(progress):
        if progress.phase == 1:
            states.append(copy.deepcopy(state(made)))
        saved.setdefault(progress.phase, copy.deepcopy(state(made)))

    history = train(made, on_epoch=on_epoch).history
    assert (history["phase"] == 1).sum() == 2 + loop.PATIENCE
    assert_same(
        {k: v for k, v in state(made).items() if "vectors" in k},
        {k: v for k, v in states[1].items() if "vectors" in k},
    )


@pytest.mark.slow
def test_linear_schedule_runs_all_epochs_at_falling_rates_and_keeps_the_last(make, monkeypatch):
    epochs = loop.PATIENCE + 4
    scores = iter([-0.5, *[-0.9] * epochs])  # by early stopping the first epoch would be kept
    monkeypatch.setattr(loop, "log_score", lambda *_: next(scores, -1.0))
    made, last = make("point", epochs=epochs, schedule="linear"), {}

    def on_epoch(progress):
        if progress.epoch == epochs or progress.phase == 2:  # after the last epoch of phase one
            last.setdefault("state", copy.deepcopy(state(made)))

    history = train(made, on_epoch=on_epoch).history.query("phase == 1")
    assert history["learning_rate"].tolist() == pytest.approx([0.01 * (1 - k / epochs) for k in range(epochs)])
    vectors = {name: value for name, value in last["state"].items() if "vectors" in name}
    assert_same({name: state(made)[name] for name in vectors}, vectors)
