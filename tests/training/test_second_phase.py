"""The schedule of phase two."""

import pytest

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError
from pyro_popbias.training.second_phase import AUTO, RISE, PhaseTwo


@pytest.mark.parametrize(("length", "cycle"), [(1, 1), (5, 5), (12, 12), (20, 10), (25, 13), (36, 12)])
def test_a_given_number_of_epochs(length, cycle):
    schedule = PhaseTwo.of(length)
    assert (schedule.longest, schedule.cycle) == (length, cycle)
    assert not schedule.is_over([0.0] * (length - 1), 0.0, 1)  # however stationary it is
    assert schedule.is_over([0.0] * length, 9.0, 1)


def test_auto_ends_where_a_cycle_brings_nothing():
    assert PhaseTwo.of("auto") is AUTO
    still, rising = [0.0] * 24, [float(k) for k in range(24)]
    assert AUTO.is_over(still, move=0.0, cells=1)
    assert not AUTO.is_over(still, move=1.0, cells=1)
    assert not AUTO.is_over(rising, move=0.0, cells=1)
    assert AUTO.is_over(rising, move=0.0, cells=10_000)
    assert not AUTO.is_over(still[:23], move=0.0, cells=1)
    assert AUTO.is_over([float(k) for k in range(120)], move=1.0, cells=1)


def test_the_rate_falls_over_a_cycle():
    factors = [AUTO.factor(epoch) for epoch in range(24)]
    assert factors[0] == factors[12] == 1.0
    assert factors[11] == pytest.approx(1 / 64)
    assert factors[:12] == sorted(factors[:12], reverse=True)


def test_with_sampled_negatives_it_begins_faster_and_waits_for_r_hat():
    schedule = PhaseTwo.of("auto", sampled=True)
    factors = [schedule.factor(epoch) for epoch in range(schedule.cycle)]
    assert (factors[0], factors[-1]) == (RISE, pytest.approx(AUTO.factor(AUTO.cycle - 1)))
    still = [0.0] * 24
    assert schedule.is_over(still, move=0.0, cells=1, r_hat=1.1)
    assert not schedule.is_over(still, move=0.0, cells=1, r_hat=1.11)
    assert AUTO.is_over(still, move=0.0, cells=1, r_hat=1.11)
    assert schedule.is_over(still, move=0.0, cells=1)  # nothing is recorded of a guide without numbers of its own
    assert schedule.is_over(still * 5, move=0.0, cells=1, r_hat=1.11)
    assert PhaseTwo.of(3, sampled=True) == PhaseTwo.of(3)


@pytest.mark.parametrize("length", [0, 3])
def test_the_study_sets_its_length(events, length):
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 2}},
        training={"epochs": 2, "batch_size": 200, "device": "cpu", "phase_two": length},
    )
    history = pb.fit(events, study=study, progress=False).history
    assert history["phase"].tolist() == [1, 1] + [2] * length


@pytest.mark.parametrize("length", [-1, 1.5, "long"])
def test_other_lengths_are_refused(length):
    with pytest.raises(ConfigError, match=r"PB-C083: \[training\] phase_two"):
        pb.Study(training={"phase_two": length})
