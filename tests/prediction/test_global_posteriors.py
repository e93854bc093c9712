"""Posteriors of intercept, slope, concentration and scales: against formulas of their own, in tables and in draws."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Normal

import pyro_popbias as pb
from pyro_popbias.inference_data.popularity_draws import CellCoords, Draws
from pyro_popbias.prediction.global_posteriors import _of_scale, global_draws, global_posteriors

PARAMETERS = {"gamma": "slope_parameter", "concentration": "prior.log_concentration"}


def fit_of(affinity, **more):
    simulation = pb.simulate("additive", "linear", users=30, items=12, interactions=900, seed=4)
    study = pb.Study(
        model={"name": "additive", "affinity": affinity, "exposure": "none", **more},
        training={"epochs": 2, "phase_two": 2, "validation": 0, "device": "cpu"},
    )
    return pb.fit(simulation.events, study=study, progress=False)


@pytest.fixture(scope="module")
def linear():
    return fit_of({"name": "linear", "user_bias": True})


def test_the_information_of_a_scale():
    """Rows seen with noise e ~ Normal(0, t): the expected log likelihood of b + e, differentiated twice."""
    scale, noise = torch.tensor(0.7, dtype=torch.float64), torch.logspace(-2, 2, 9, dtype=torch.float64)

    def expected(log_scale):
        variance, truth = (2 * log_scale).exp() + noise**2, scale**2 + noise**2
        prior = Normal(scale.log(), 1.0).log_prob(log_scale)
        return prior - 0.5 * (variance.log() + truth / variance).sum()

    information = -torch.autograd.functional.hessian(expected, scale.log())
    q = 1 / (scale**-2 + noise**-2)
    [found] = _of_scale(scale.log().reshape(1), q.unsqueeze(-1))
    assert found.base_dist.loc.item() == pytest.approx(scale.log().item())
    assert found.base_dist.scale.item() == pytest.approx(information.rsqrt().item(), rel=1e-9)


def test_a_scale_of_rows_that_no_label_tells_anything_about_has_its_prior():
    [found] = _of_scale(torch.zeros(1, dtype=torch.float64), torch.ones(40, 1, dtype=torch.float64))
    assert found.base_dist.scale.item() == 1.0


def test_draws_have_the_moments_and_correlations_of_the_joint_posterior(linear):
    model, guide, number = linear.model, linear.guide, 20_000
    noise = np.random.default_rng(3).standard_normal(number)
    draws, posteriors = (
        global_draws(model, guide, linear.catalogue, noise, seed=1),
        global_posteriors(model, guide, linear.catalogue),
    )
    assert set(posteriors) == {"intercept", "gamma", "concentration", "user_bias_scale"}
    for name, posterior in posteriors.items():
        error = posterior.stddev.item() / np.sqrt(number)
        assert abs(draws[name].mean() - posterior.mean.item()) < 5 * error
        assert draws[name].std() == pytest.approx(posterior.stddev.item(), rel=0.05)
    np.testing.assert_allclose(
        draws["intercept"], posteriors["intercept"].mean.item() + noise * draws_sd(posteriors), atol=1e-9
    )
    for name, parameter in PARAMETERS.items():
        found = np.corrcoef(draws["intercept"], np.log(draws[name]))[0, 1]
        assert found == pytest.approx(guide.shared.correlation("affinity.intercept", parameter), abs=0.03)


def draws_sd(posteriors):
    return posteriors["intercept"].stddev.item()


def test_arviz_has_them_beside_the_popularities_that_move_with_the_intercept(linear):
    posterior = linear.to_arviz(draws=4_000)["posterior"]
    table = linear.parameters().set_index("name")
    for name in ("intercept", "gamma", "concentration", "user_bias_scale"):
        assert posterior[name].dims == ("chain", "draw")
        assert float(posterior[name].std()) == pytest.approx(table.loc[name, "sd"], rel=0.1)
    assert posterior["beta_item"].dims == ("chain", "draw", "beta_item_feature")
    of_cell = linear.guide.intercept.of_cell.numpy()
    far = np.flatnonzero(abs(of_cell) * float(linear.guide.intercept.variance.sqrt()) > 0.05)
    assert len(far)
    for place in far:
        pair = posterior["intercept"].values[0], posterior["popularity"].values[0, :, place]
        assert np.sign(np.corrcoef(*pair)[0, 1]) == np.sign(of_cell[place])
    again = linear.to_arviz(draws=4_000, items=linear.catalogue.items[:3])["posterior"]
    assert again["gamma"].equals(posterior["gamma"])


@pytest.fixture(scope="module")
def vectors():
    """Return two fits that no training made, of two dimensions and of one, whose scales count as learned."""
    events, found = pb.simulate(users=60, items=30, interactions=900, dim=2, seed=1).events, []
    for dim in (2, 1):
        pair = pb.pair(
            events, study=pb.Study(model={"affinity": {"name": "embedding", "dim": dim}, "exposure": "none"})
        )
        pair.guide.intercept.variance.fill_(0.01)
        found.append(pb.Fit(pair.study, events.catalogue, pair.model, pair.guide, None, pd.DataFrame(), events))
    return found


def test_scales_of_vectors_are_one_variable(vectors):
    posterior, table = vectors[0].to_arviz(draws=4_000)["posterior"], vectors[0].parameters().set_index("name")
    assert posterior["vector_scale"].dims == ("chain", "draw", "vector_scale_dimension")
    for k in range(2):
        row = table.loc[f"vector_scale[{k}]"]
        assert row["lower"] < row["mean"] < row["upper"]
        draws = posterior["vector_scale"].values[0, :, k]
        assert draws.std() == pytest.approx(row["sd"], rel=0.1)
        assert np.median(draws) == pytest.approx(row["mean"], rel=0.02)


def test_scales_of_restarts_of_several_ranks_are_left_out(vectors):
    one, other = vectors
    draws = Draws((*one.chains, *other.chains), one.catalogue, 20, 0, "posterior")
    found = draws.dataset(CellCoords.of_items(one.catalogue.items[:2], np.arange(2), 1))
    assert "vector_scale" not in found
    assert found["intercept"].shape == (2, 20)


def test_the_step_of_a_walk_has_the_information_of_its_increments():
    simulation = pb.simulate(users=40, items=20, interactions=2_000, periods=4, drift=0.4, seed=2)
    study = pb.Study(
        model={
            "affinity": {"name": "embedding", "dim": 2},
            "prior": {"name": "lognormal", "drift": "random-walk"},
            "exposure": "none",
        },
        guide={"name": "markov"},
        training={"epochs": 4, "phase_two": 0, "validation": 0, "device": "cpu"},
    )
    fit = pb.fit(simulation.events, study=study, progress=False)
    chain = fit.guide.popularity.chain(torch.arange(fit.catalogue.cells))
    step = fit.model.prior.step.item()
    information = 1.0
    with torch.no_grad():
        of_noise = (
            chain.y_of_noise(torch.eye(fit.catalogue.cells, dtype=chain.loc.dtype)) - chain.loc
        ).T  # y = m + A noise
    covariance = (of_noise @ of_noise.T).numpy()
    for first in range(0, fit.catalogue.cells, 4):
        for t in range(first + 1, first + 4):
            variance = covariance[t, t] + covariance[t - 1, t - 1] - 2 * covariance[t, t - 1]
            information += 2 * max(0.0, 1 - variance / step**2) ** 2
    found = global_posteriors(fit.model, fit.guide, fit.catalogue)["drift_step"]
    assert found.base_dist.scale.item() == pytest.approx(information**-0.5, rel=1e-6)
    assert not fit.parameters().set_index("name").loc["drift_step"].isna().any()
