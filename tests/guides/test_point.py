"""The point guide: the mode of log z, and tables without an interval."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_expit
from torch.distributions import Exponential, Gamma, LogNormal, Weibull

import pyro_popbias as pb

pytestmark = pytest.mark.slow

GRID = np.linspace(-8, 4, 24_001)  # log z
CONCENTRATION = 1.5
POINTS = {"name": "embedding", "dim": 2, "posterior": "point", "user_bias": False}


@pytest.fixture(scope="module")
def fitted(make_frame):
    frame = make_frame().assign(score=lambda table: np.sin(np.arange(len(table))))
    events = pb.Interactions.from_frame(frame, label="label")
    model = {
        "affinity": {"name": "fixed", "score": "score"},
        "prior": {"source": "fixed", "concentration": CONCENTRATION},
    }
    study = pb.Study(model=model, guide={"name": "point"}, training={"validation": 0.0, "epochs": 5})
    return frame, pb.fit(events, study=study, progress=False)


def log_joint(frame, intercept):
    """Return the log density of labels and log z, `(nodes,)`, of the rows of one item, by the formulas."""
    log_h = log_expit(frame["score"].to_numpy() + intercept)[:, None]
    log_g = np.log(-np.expm1(-np.exp(GRID)))
    one = frame["label"].to_numpy()[:, None] > 0
    likelihood = np.where(one, log_h + log_g, np.log1p(-np.exp(log_h + log_g))).sum(0)
    return likelihood + CONCENTRATION * (GRID - np.exp(GRID))


def test_the_point_is_the_mode_of_log_z(fitted):
    frame, fit = fitted
    intercept = fit.parameters().set_index("name")["mean"]["intercept"]
    mean = fit.popularity().set_index("item")["mean"]
    for item, rows in frame.groupby("item"):
        assert np.log(mean[item]) == pytest.approx(GRID[log_joint(rows, intercept).argmax()], abs=0.01)


def test_points_have_no_interval(fitted):
    _, fit = fitted
    table = fit.popularity()
    assert table[["sd", "lower", "upper"]].isna().all(axis=None)
    np.testing.assert_allclose(table["prior_mean"], 1)
    draws = fit.to_arviz(draws=3)["posterior"]["popularity"].values[0]
    np.testing.assert_allclose(draws, np.tile(table["mean"], (3, 1)))


def test_cells_without_rows_have_the_interval_of_the_prior():
    frame = pd.DataFrame({"user": list("abab"), "item": list("xxyy"), "label": [1, 0, 1, 1], "time": [1, 2, 1, 9]})
    events = pb.Interactions.from_frame(frame, label="label", time="time", periods=2)
    study = pb.Study(model={"affinity": {"name": "embedding", "dim": 2}}, training={"epochs": 1, "validation": 0.0})
    table = pb.fit(events, study=study, guide="point", progress=False).popularity()
    assert table["prior_only"].tolist() == table["sd"].notna().tolist()
    assert table["prior_only"].any()


def test_history_shows_the_log_joint(fitted):
    _, fit = fitted
    assert list(fit.history.columns)[:5] == ["phase", "epoch", "log_joint", "elbo", "expected_log_likelihood"]
    assert fit.history[["elbo", "kl"]].isna().all(axis=None)
    assert fit.history["log_joint"].iloc[-1] > fit.history["log_joint"].iloc[0]
    assert np.isfinite(fit.history["log_joint"]).all()


@pytest.mark.parametrize("model", [name for name in pb.MODELS if name != "pda"])
def test_the_posterior_score_is_the_probability_at_the_point(events, short_training, model):
    study = pb.Study(model={"name": model, "affinity": POINTS}, training={"epochs": 2})
    fit = pb.fit(events, study=study, guide="point", progress=False)
    pairs = pd.DataFrame({"user": ["u1", "u2", "u1"], "item": ["i3", "i3", "i5"]})
    table = fit.predict(pairs, popularity="posterior")
    codes = [
        torch.tensor(index.get_indexer(pairs[name]))
        for name, index in (("user", fit.catalogue.users), ("item", fit.catalogue.items))
    ]
    with torch.no_grad():
        expected = fit.model.conditional_probability(
            fit.model.affinity.pairs(*codes, None, {}).mean, fit.guide.popularity.posterior(codes[1]).v
        )
    for column in ("score", "popularity_lower", "popularity_upper"):
        np.testing.assert_allclose(table[column], expected, rtol=1e-6)


@pytest.mark.parametrize("numbers", [(0.3, 0.5), (2.0, 3.0), (30.0, 0.2)])
@pytest.mark.parametrize("family", [Gamma, Exponential, LogNormal, Weibull])
def test_a_point_starts_at_the_mode_of_log_z(family, numbers):
    distribution = family(*torch.tensor(numbers).double()[: len(family.arg_constraints)])
    log_z = pb.GUIDES["point"].start(distribution).requires_grad_()
    density = distribution.log_prob(log_z.exp()) + log_z
    (slope,) = torch.autograd.grad(density.sum(), log_z)
    assert slope.abs().max() < 1e-9
    for step in (-0.1, 0.1):
        moved = log_z.detach() + step
        assert distribution.log_prob(moved.exp()) + moved < density
