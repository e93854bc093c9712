"""What the marginal posteriors of quality and popularity have beyond q: against the dense inverse, and in tables."""

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.prediction.quality_draws import moved_by_quality, quality_draws
from pyro_popbias.training.information import JointInformation

pytestmark = pytest.mark.slow

PERIODS = 2


@pytest.fixture(scope="module")
def fit():
    rng = np.random.default_rng(0)
    item = rng.choice(30, size=3_000, p=(weight := rng.gamma(1.0, size=30)) / weight.sum())
    frame = pd.DataFrame({"user": rng.integers(60, size=3_000), "item": item, "time": rng.random(3_000)})
    frame["label"] = (rng.random(3_000) < 0.2 + 0.5 * (item % 5) / 5).astype(int)
    events = pb.Interactions.from_frame(frame, label="label", time="time", periods=PERIODS)
    study = pb.Study(
        model={"exposure": "negative-binomial", "affinity": {"name": "embedding", "dim": 2}},
        training={"epochs": 10, "phase_two": 12, "device": "cpu"},
    )
    return pb.fit(events, study=study, progress=False)


def blocks(fit):
    """Return the covariance of (quality, popularity in each period) of every item where all else is known, `(K, 3, 3)`."""
    information = JointInformation.of(_pair(fit))
    cells, items = information.cells, len(fit.catalogue.items)
    of_cell, of_item = information.variance[:cells], information.variance[-items:]
    both = information.border[:cells, 0].reshape(items, PERIODS)
    precision = torch.zeros(items, 1 + PERIODS, 1 + PERIODS, dtype=torch.float64)
    precision[:, 0, 0] = 1 / of_item
    precision[:, 0, 1:] = precision[:, 1:, 0] = both
    precision[:, range(1, 1 + PERIODS), range(1, 1 + PERIODS)] = 1 / of_cell.reshape(items, PERIODS)
    return torch.linalg.inv(precision), of_item, of_cell


def _pair(fit):
    from dataclasses import replace

    from pyro_popbias.assembly.pair import assemble

    return replace(assemble(fit.events, fit.study), model=fit.model, guide=fit.guide)


@pytest.mark.slow
def test_it_is_that_of_the_dense_inverse(fit):
    covariance, of_item, of_cell = blocks(fit)
    has_rows = (of_cell > 0).reshape(-1, PERIODS).all(1)
    assert has_rows.sum() > 20
    found = fit.guide.quality
    torch.testing.assert_close(found.of_item[has_rows], (covariance[:, 0, 0] - of_item)[has_rows])
    of_both = covariance[:, range(1, 1 + PERIODS), range(1, 1 + PERIODS)] - of_cell.reshape(-1, PERIODS)
    torch.testing.assert_close(found.of_cell.reshape(-1, PERIODS)[has_rows], of_both[has_rows])
    assert (found.of_item[has_rows] > 0).all()


def test_tables_have_it(fit):
    table, kept = fit.items(), fit.guide.quality.of_item.clone()
    of_intercept = fit.guide.intercept.variance * fit.guide.intercept.of_item.square()
    own = fit.model.affinity.item_quality.of_items(fit.guide.weights(), torch.arange(len(table)))[1]
    np.testing.assert_allclose(table["quality_sd"] ** 2, (own + kept + of_intercept).detach(), rtol=1e-9)
    assert (table["quality_lower"] < table["quality"]).all()
    assert (table["correlation"] <= 0).all()
    assert table["correlation"].min() < -0.05
    assert table["quality_share_lower"].le(table["quality_share"]).all()


def test_draws_of_both_have_the_covariance(fit):
    covariance, *_ = blocks(fit)
    item = np.flatnonzero(fit.catalogue.count.reshape(-1, PERIODS).min(1) > 0)[:8]
    cell = item * PERIODS
    of_quality = quality_draws(fit.model, fit.guide, item, draws=20_000, seed=1)
    moved = moved_by_quality(fit.guide, cell, PERIODS, draws=20_000, seed=1)
    for k, code in enumerate(item):
        # the move has what q leaves out of log z, and q is drawn independently of it
        found, sds = np.cov(of_quality[:, k], moved[:, k])[0, 1], (of_quality[:, k].std(), moved[:, k].std())
        error = sds[0] * sds[1] * np.sqrt(2 / 20_000)
        assert abs(found - covariance[code, 0, 1].item()) < 4 * error
        assert sds[0] == pytest.approx(fit.items().loc[code, "quality_sd"], rel=0.03)


def test_scores_have_it_unless_popularity_moves_against_it(fit):
    frame = pd.DataFrame({"user": fit.catalogue.users[:5], "item": fit.catalogue.items[:5]})
    wide = {mode: fit.predict(frame, popularity=mode) for mode in ("population", "posterior")}
    kept = fit.guide.quality.of_item.clone()
    fit.guide.quality.of_item.zero_()
    narrow = {mode: fit.predict(frame, popularity=mode) for mode in wide}
    fit.guide.quality.of_item.copy_(kept)
    assert (wide["population"]["score_sd"] > narrow["population"]["score_sd"]).all()
    pd.testing.assert_frame_equal(wide["posterior"], narrow["posterior"])
    pd.testing.assert_series_equal(wide["population"]["score"], narrow["population"]["score"])
