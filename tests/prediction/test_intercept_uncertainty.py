"""The intercept's posterior in tables, draws and scores: what it adds to each, and where it adds nothing."""

import numpy as np
import pandas as pd
import pytest
import torch
from pyro.distributions import Normal
from scipy import stats

import pyro_popbias as pb

pytestmark = pytest.mark.slow

DRAWS = 10_000
UPPER = stats.norm.isf(0.05)
WAYS = {
    "lognormal": ("product", "lognormal", "gamma"),
    "gamma": ("inverse-logistic", "gamma", "gamma"),
    "normal": ("additive", "normal", "normal"),
}


@pytest.fixture(scope="module", params=WAYS)
def fit(request, phase_two_as):
    model, guide, prior = WAYS[request.param]
    sim = pb.simulate(model=model, prior=prior, users=40, items=25, interactions=1_500, dim=2, seed=0)
    study = pb.Study(
        model={"name": model, "prior": {"name": prior}, "affinity": {"name": "embedding", "dim": 2}},
        guide={"name": guide},
        training={"epochs": 10, "batch_size": 200, "validation": 0.0, "device": "cpu"},
    )
    with phase_two_as(steps=20, cycle=6, most_cycles=2):
        made = pb.fit(sim.events, study=study, progress=False)
    assert made.guide.intercept.variance > 0
    return made


def q_of(fit):
    return fit.guide.popularity.posterior(torch.arange(fit.catalogue.cells))


def is_real(fit):
    return fit.model.latents["popularity"].support is torch.distributions.constraints.real


def moved_variance(fit):
    """Return what the intercept adds to the variance of log z, or of z where it is real, `(C,)`."""
    return (fit.guide.intercept.variance * fit.guide.intercept.of_cell.square()).numpy()


def test_parameters_have_the_interval_of_the_intercept(fit):
    row = fit.parameters().set_index("name").loc["intercept"]
    # in the table with the concentration free to move, too
    sd = fit.guide.shared.variance("affinity.intercept") ** 0.5
    assert sd == pytest.approx(fit.guide.intercept.variance.sqrt().item(), rel=0.25)
    assert row["mean"] == pytest.approx(fit.model.affinity.intercept.item())
    assert row["sd"] == pytest.approx(sd)
    assert row["upper"] - row["mean"] == pytest.approx(UPPER * sd)
    assert row["mean"] - row["lower"] == pytest.approx(UPPER * sd)
    half = fit.parameters(interval=0.5).set_index("name").loc["intercept"]
    assert half["upper"] - half["mean"] == pytest.approx(stats.norm.isf(0.25) * sd)


def test_parameters_show_a_residual_variance(fit):
    residual, kept = fit.guide.residual_variance, fit.guide.residual_variance.clone()
    try:
        for value in (0.0, 0.3):
            residual.fill_(value)
            found = fit.parameters().set_index("name")["mean"].get("residual_variance", 0.0)
            assert found == value
    finally:
        residual.copy_(kept)


def test_intervals_of_popularity_include_the_intercept(fit):
    table, q, moved = fit.popularity(), q_of(fit), moved_variance(fit)
    mean, sd = q.mean.detach().numpy(), q.stddev.detach().numpy()
    np.testing.assert_allclose(table["mean"], mean)
    expected = sd**2 + moved * (1.0 if is_real(fit) else mean**2)
    np.testing.assert_allclose(table["sd"] ** 2, expected, rtol=1e-10)
    lower, middle, upper = (pb.distributions.quantile(q, each).detach().numpy() for each in (0.05, 0.5, 0.95))
    assert (table["lower"] < lower).all()
    assert (table["upper"] > upper).all()
    # the ends' distances from the median, on the scale on which z moves, add up in squares
    scale = (lambda z: z) if is_real(fit) else np.log
    for column, own in (("lower", lower), ("upper", upper)):
        distance = scale(table[column].to_numpy()) - scale(middle)
        np.testing.assert_allclose(distance**2, (scale(own) - scale(middle)) ** 2 + UPPER**2 * moved, rtol=1e-8)


def test_without_a_response_intervals_are_those_of_q(fit):
    intercept = fit.guide.intercept
    kept = [value.clone() for value in (intercept.variance, intercept.of_cell, intercept.of_user, intercept.of_item)]
    intercept.set(*(torch.zeros_like(value) for value in kept))
    shared = fit.guide.shared.covariance.clone()
    fit.guide.shared.covariance.zero_()
    try:
        table, q = fit.popularity(), q_of(fit)
        np.testing.assert_allclose(table["sd"], q.stddev.detach())
        np.testing.assert_allclose(table["upper"], pb.distributions.quantile(q, 0.95).detach())
        assert np.isnan(fit.parameters().set_index("name").loc["intercept", "sd"])
    finally:
        intercept.set(*kept)
        fit.guide.shared.covariance.copy_(shared)


def draws_of(fit):
    found = fit.to_arviz(draws=DRAWS, groups=("posterior", "prior"), seed=3)
    return {group: found[group]["popularity"].values[0] for group in ("posterior", "prior")}


def test_draws_agree_with_the_table(fit):
    draws, table = draws_of(fit)["posterior"], fit.popularity()
    for column, share in (("lower", 0.05), ("upper", 0.95)):
        found = np.quantile(draws, share, axis=0)
        # a quantile's standard error, with the density of draws there by a difference of quantiles
        density = 0.04 / (np.quantile(draws, share + 0.02, axis=0) - np.quantile(draws, share - 0.02, axis=0))
        error = np.sqrt(share * (1 - share) / DRAWS) / density
        # ends of a sum are those of a Normal with added variances: exact for LogNormal and Normal q
        exact = type(q_of(fit)).__name__ in ("LogNormal", "Normal")
        slack = 0.0 if exact else 0.02 * (table["upper"] - table["lower"])
        assert (abs(found - table[column]) < 4 * error + slack).all(), column


def test_draws_of_two_items_move_together(fit):
    draws, of_cell = draws_of(fit), fit.guide.intercept.of_cell.numpy()
    scale = (lambda z: z) if is_real(fit) else np.log
    first, second = np.argsort(of_cell)[:2]  # those that respond most
    values = {group: scale(each[:, [first, second]]) for group, each in draws.items()}
    product = np.prod(values["posterior"] - values["posterior"].mean(0), axis=1)
    expected = fit.guide.intercept.variance.item() * of_cell[first] * of_cell[second]
    error = 4 * product.std() / DRAWS**0.5
    assert abs(product.mean() - expected) < error
    assert product.mean() > error  # which is not nothing
    # priors of items are independent
    product = np.prod(values["prior"] - values["prior"].mean(0), axis=1)
    assert abs(product.mean()) < 4 * product.std() / DRAWS**0.5


def pairs_of(fit):
    users, items = fit.catalogue.users[:6], fit.catalogue.items[:5]
    frame = pd.MultiIndex.from_product([users, items], names=["user", "item"]).to_frame(index=False)
    user = torch.from_numpy(fit.catalogue.users.get_indexer(frame["user"]).copy())
    item = torch.from_numpy(fit.catalogue.items.get_indexer(frame["item"]).copy())
    with torch.no_grad():
        return frame, user, item, fit.model.affinity.pairs(user, item, None, fit.guide.weights())


def spread(fit, affinity, variance, probability):
    """Return the standard deviation of a probability over x ~ Normal, by a fine rule."""
    nodes, shares = np.polynomial.hermite_e.hermegauss(60)
    with torch.no_grad():
        values = np.stack([probability(affinity.mean + node * variance.sqrt()).numpy() for node in nodes])
    shares = shares / shares.sum()
    mean = shares @ values
    return mean, np.sqrt(shares @ (values - mean) ** 2)


def test_scores_under_population_include_the_intercept(fit):
    frame, user, _, affinity = pairs_of(fit)
    intercept = fit.guide.intercept
    own = affinity.variance + fit.guide.residual_variance
    variance = own + intercept.variance * (1 + intercept.of_user[user]).square()
    population = fit.model.prior.population()

    def probability(x):
        return fit.model.marginal_probability(x, population)

    found = fit.predict(frame, popularity="population")
    np.testing.assert_allclose(found["score_sd"], spread(fit, affinity, variance, probability)[1], rtol=1e-4)
    # the score itself stays at the estimate of the intercept
    np.testing.assert_allclose(found["score"], spread(fit, affinity, affinity.variance, probability)[0], rtol=1e-4)
    with torch.no_grad():
        upper = probability(Normal(affinity.mean, variance.sqrt()).icdf(torch.tensor(0.95).double()))
    np.testing.assert_allclose(found["score_upper"], upper.numpy(), rtol=1e-6)


def test_scores_under_posterior_leave_the_intercept_out(fit):
    frame, user, item, affinity = pairs_of(fit)
    own, q = affinity.variance + fit.guide.residual_variance, q_of(fit)

    def probability(x):
        return fit.model.marginal_probability(x, q, item)

    found = fit.predict(frame, popularity="posterior")
    np.testing.assert_allclose(found["score_sd"], spread(fit, affinity, own, probability)[1], rtol=1e-3)
    wide = own + fit.guide.intercept.variance * (1 + fit.guide.intercept.of_user[user]).square()
    assert (found["score_sd"] < spread(fit, affinity, wide, probability)[1]).all()


@pytest.mark.parametrize("popularity", ["prior", "none"])
def test_scores_under_the_other_modes_include_it(fit, popularity):
    frame, *_ = pairs_of(fit)
    wide, intercept = fit.predict(frame, popularity=popularity)["score_sd"], fit.guide.intercept
    kept = intercept.variance.clone()
    intercept.variance.zero_()
    try:
        narrow = fit.predict(frame, popularity=popularity)["score_sd"]
    finally:
        intercept.variance.copy_(kept)
    assert (wide > narrow).all()


def test_an_unseen_user_moves_with_the_intercept_alone(fit):
    frame = pd.DataFrame({"user": ["nobody"], "item": [fit.catalogue.items[0]]})
    affinity = fit.model.affinity
    with torch.no_grad():
        alone = affinity.pairs(torch.tensor([-1]), torch.tensor([0]), None, fit.guide.weights())
    wide = fit.guide.intercept.widened(alone, torch.tensor([-1]), torch.tensor([-1]))
    torch.testing.assert_close(wide.variance, alone.variance + fit.guide.intercept.variance)
    found = fit.predict(frame, popularity="none", unseen="prior")
    sd = spread(fit, wide, fit.guide.with_residual(wide).variance, fit.model.affinity_score)[1]
    np.testing.assert_allclose(found["score_sd"], sd, rtol=1e-3)


def test_a_saved_fit_has_the_same_intervals(fit, tmp_path):
    fit.save(tmp_path / "run")
    again = pb.load(tmp_path / "run")
    for one, other in (
        (fit.popularity(), again.popularity()),
        (fit.parameters(), again.parameters()),
        (fit.users(), again.users()),
    ):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
