import copy

import numpy as np
import pytest
import torch
from torch.nn import Parameter

import pyro_popbias as pb
from pyro_popbias.checks.convergence import LARGEST, convergence
from pyro_popbias.training.iterates import TRACED, Iterates, median_r_hat, r_hat
from pyro_popbias.training.loop import train
from pyro_popbias.training.second_phase import PhaseTwo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def simulation():
    return pb.simulate(affinity="embedding", users=200, items=60, interactions=10_000, seed=0)


def fit_of(simulation, guide, **options):
    vectors = {name: simulation.truth[name] for name in ("user_vectors", "item_vectors")}
    study = pb.Study(
        model={
            "affinity": {"name": "fixed", **vectors},
            "prior": {"name": "gamma", "source": "fixed", "concentration": 2.0},
        },
        guide={"name": guide},
        training={"validation": 0.0, "epochs": 8, "device": "cpu", **options},
    )
    return pb.fit(simulation.events, study=study, progress=False)


def walked(*windows):
    """Return iterates that are given, as columns of two windows."""
    parameter = Parameter(torch.zeros(windows[0].shape[1], dtype=torch.float64))
    iterates = Iterates([parameter])
    for window in windows:
        iterates.turn()
        for row in window:
            parameter.data = torch.from_numpy(row)
            iterates.record([parameter])
    return iterates


def test_moments_are_those_of_the_last_two_windows():
    windows = np.random.default_rng(0).normal(3.0, 2.0, size=(3, 50, 7))
    iterates = walked(*windows)
    assert iterates.number.tolist() == [50, 50]
    for row, window in enumerate(windows[1:]):
        assert iterates.mean[row].numpy() == pytest.approx(window.mean(0))
        assert iterates.squares[row].numpy() == pytest.approx(50 * window.var(0))


def test_traced_numbers_are_bounded():
    iterates = Iterates([Parameter(torch.zeros(5 * TRACED, 2)), Parameter(torch.zeros(3))])
    assert iterates.mean.shape == (2, TRACED + 3)


def test_r_hat_of_two_windows():
    windows = np.random.default_rng(0).normal(size=(2, 400, 50))
    assert (r_hat(walked(*windows)) < 1.02).all()
    windows[1] += 1.0  # the mean goes by a standard deviation: R-hat^2 = 1 + 1/2
    assert median_r_hat(walked(*windows)) == pytest.approx(1.5**0.5, abs=0.02)
    # a drift from 0 to 1 in each window: means differ by 1, variance 1/12
    drift = np.linspace(0, 2, 800).reshape(2, 400, 1)
    assert float(r_hat(walked(*drift))) == pytest.approx((1 + 0.5 * 12) ** 0.5, abs=0.01)


def test_numbers_that_never_moved_do_not_count():
    windows = np.random.default_rng(0).normal(size=(2, 40, 3))
    windows[:, :, 1] = 4.0
    assert len(r_hat(walked(*windows))) == 2


@pytest.mark.nightly
@pytest.mark.parametrize("guide", ["gamma", "lognormal"])
def test_a_whole_phase_two_has_arrived(simulation, guide):
    fit = fit_of(simulation, guide)
    (finding,) = convergence(fit)
    assert finding.passed, finding.words
    assert 1 < finding.value <= finding.bound == LARGEST
    assert finding.words.startswith("median R-hat of q's parameters over the last two cycles of training is 1.0")


@pytest.mark.nightly
@pytest.mark.slow
def test_a_log_of_positives_has_arrived():
    simulation = pb.simulate(users=600, items=4000, interactions=150_000, seed=0)
    frame = simulation.frame
    log = pb.Interactions.from_frame(frame[frame["label"] == 1], user="user", item="item")
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 8, "posterior": "point"}},
        training={"epochs": 5, "device": "cpu"},
    )
    # at the rate of labelled rows R-hat is 1.27 after 24 epochs of phase two
    fit = pb.fit(log, study=study, progress=False)
    (finding,) = convergence(fit)
    assert finding.passed, finding.words


@pytest.mark.parametrize(
    ("schedule", "options"), [({"steps": 5, "cycle": 3}, {}), ({"steps": 20}, {"guide_learning_rate": 0.002})]
)
def test_a_phase_two_that_is_cut_off_is_found(simulation, phase_two_as, schedule, options):
    with phase_two_as(**schedule, most_cycles=2):
        (finding,) = convergence(fit_of(simulation, "gamma", epochs=1, **options))
    assert not finding.passed
    assert finding.value > 1.5
    assert "q has not converged: raise training.guide_learning_rate or training.epochs." in finding.words


def test_without_a_second_phase_nothing_is_said(events):
    (finding,) = convergence(pb.fit(events, study=pb.Study(training={"epochs": 1, "phase_two": 0}), progress=False))
    assert finding.passed
    assert np.isnan(finding.value)
    assert finding.words == "Not checked: phase two of training ran for less than two cycles."


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("guide", ["point", "amortized-gamma", "auto-normal"])
def test_a_loaded_run_still_shows_it(events, tmp_path, guide):
    fit = pb.fit(events, study=pb.Study(guide={"name": guide}, training={"epochs": 2}), progress=False)
    assert median_r_hat(fit.iterates) >= 1
    fit.save(tmp_path / "run")
    assert convergence(pb.load(tmp_path / "run")) == convergence(fit)


def test_a_resumed_training_has_the_same_iterates(events):
    schedule = PhaseTwo(steps=3, cycle=3, epochs=9)
    study = pb.Study(training={"epochs": 1, "device": "cpu"})
    saved = []
    whole = train(pb.pair(events, study=study), phase_two=schedule, save=lambda each: saved.append(copy.deepcopy(each)))
    for snapshot in saved[1:]:
        resumed = train(pb.pair(events, study=study), phase_two=schedule, resume=snapshot)
        for name, buffer in whole.iterates.named_buffers():
            assert torch.equal(buffer, resumed.iterates.get_buffer(name)), name
