"""Replicated counts: by hand, and that a wrong exposure is found and a right one passes."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.checks.posterior_predictive import Predictive
from pyro_popbias.checks.replicated_counts import COUNTS, ReplicatedCounts, statistics_of
from pyro_popbias.checks.replicated_data import ReplicatedData
from pyro_popbias.checks.thresholds import findings_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _few_cycles(phase_two_as):
    """End phase two where q has arrived to a few hundredths of a nat, which the rules do not see."""
    with phase_two_as(steps=20, most_cycles=2):
        yield


@pytest.fixture(scope="module")
def fit(_few_cycles):
    simulation = pb.simulate(users=100, items=50, interactions=4_000, dim=2, quality=1.0, exposure=1.0, seed=1)
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 2}, "exposure": "negative-binomial"},
        training={"epochs": 4, "device": "cpu"},
    )
    return pb.fit(simulation.events, study=study, progress=False)


@pytest.fixture(scope="module")
def right(fit):
    return fit.check()


def test_statistics_by_hand():
    count = np.array([1.0, 0.0, 3.0, 4.0])  # the second cell has no row
    spread, gini = statistics_of(count)
    assert spread == pytest.approx(np.std(np.log([1, 3, 4])))
    some = count[count > 0]
    assert gini == pytest.approx(np.abs(some[:, None] - some).mean() / (2 * some.mean()))
    assert statistics_of(np.zeros(3)).tolist() == [0, 0]


def test_counts_are_of_cells_with_training_rows(fit):
    counts = ReplicatedCounts.of(fit.model)
    of_cell = fit.model.exposure.count.numpy()
    assert counts.cell.tolist() == np.flatnonzero(of_cell).tolist()
    np.testing.assert_allclose(counts.observed(), statistics_of(of_cell))


def test_a_right_fit_passes(right):
    names = [name for name, _ in COUNTS]
    found = [finding for finding in right.findings if finding.name in names]
    assert [(finding.check, finding.name) for finding in found] == [
        (check, name) for check in ("items", "population") for name in names
    ]
    assert all(finding.passed for finding in found), str(right)
    assert right.tables["items"]["statistic"].tolist()[-2:] == names
    assert not set(names) & set(right.tables["prior"]["statistic"])


def replicated(fit, model, **options):
    rows = ReplicatedData.of(fit.events, fit.study, seed=0, device=fit.guide.device)
    return Predictive(model, fit.guide, rows, per_row=False, **options).tables()


@pytest.mark.parametrize(("power", "dispersion"), [(1.0, 0.3), (0.1, 1_000.0)])
def test_a_wrong_dispersion_or_power_is_found(fit, power, dispersion):
    """Counts of items as popular as the fit says differ far too much, or too little."""
    model = copy.deepcopy(fit.model)
    for name, value in (("log_power", power), ("log_dispersion", dispersion)):
        setattr(model.exposure, name, torch.tensor(math.log(value), dtype=torch.float64))
    found = findings_of(replicated(fit, model, replicates=20)["items"])
    finding = next(each for each in found if each.name == "spread of counts")
    assert not finding.passed
    assert finding.words.endswith("or another dispersion of the exposure")


def test_counts_do_not_move_the_replicates_of_labels(fit, right):
    model = copy.deepcopy(fit.model)
    model.exposure = None
    for check, table in replicated(fit, model).items():
        if check != "prior":  # which draws the parameters of the exposure, too
            pd.testing.assert_frame_equal(table, right.tables[check].head(-len(COUNTS)))
