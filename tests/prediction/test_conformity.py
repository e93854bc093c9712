"""Scores, lists and tables of users who differ in how far they follow popularity."""

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.models.conformity import SITE
from pyro_popbias.prediction import best_expectations, conforming_scores
from pyro_popbias.prediction import scorer as scorer_module
from pyro_popbias.prediction.intervention import scores

# the spread of popularity is learned beside its slopes, as a user may choose to
pytestmark = [pytest.mark.filterwarnings("ignore:PB-C461"), pytest.mark.slow]

DRAWS = 100_000
WAYS = {
    "additive": ("additive", "normal", {"name": "embedding", "dim": 2}),
    "inverse-logistic": ("inverse-logistic", "gamma", {"name": "embedding", "dim": 2}),
    "closed": ("inverse-logistic", "lognormal", {"name": "linear", "user_bias": False}),
    "point": ("inverse-logistic", "gamma", {"name": "embedding", "dim": 2, "posterior": "point", "user_bias": False}),
}
MODES = ["population", "prior", "posterior", "none", 0.7, {f"i{code}": 0.2 + 0.1 * code for code in range(15)}]


def study(way):
    model, family, affinity = WAYS[way]
    return pb.Study(
        model={
            "name": model,
            "affinity": affinity,
            "prior": {"name": family},
            "conformity": True,
            "exposure": "none",
        },
        guide={"name": family},
        training={"device": "cpu", "epochs": 3, "phase_two": 12},
    )


@pytest.fixture(scope="module", params=WAYS)
def fit(request, make_frame):
    frame = make_frame(rows=700)
    ages = pd.DataFrame({"age": np.linspace(-1, 1, 15)}, index=[f"i{code}" for code in range(15)])
    events = pb.Interactions.from_frame(frame, label="label", item_features=ages)
    found, generator = pb.fit(events, study=study(request.param), progress=False), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in found.guide.affinity.named_parameters():
            if name.startswith(SITE):
                move = 0.5 * torch.randn(parameter.shape, generator=generator)
                parameter.copy_(move if "loc" in name else -1.0 + 0.3 * move)
    return found


@pytest.fixture
def pairs(fit):
    user, item = np.meshgrid(fit.catalogue.users[:6], fit.catalogue.items, indexing="ij")
    return pd.DataFrame({"user": user.ravel(), "item": item.ravel()})


def draws(fit, pairs, popularity):
    """Return P(c=1) in draws of x and d_u, and of z where it has a distribution, `(DRAWS, N)`; and z's own part is averaged."""
    scorer, generator = fit.scorer(popularity), torch.Generator().manual_seed(1)
    user, item = (
        torch.from_numpy(index.get_indexer(pairs[name]))
        for name, index in (("user", fit.catalogue.users), ("item", fit.catalogue.items))
    )
    with torch.no_grad():
        x = fit.model.pairs(user, item, None, fit.guide.weights())
        normal = [torch.randn(DRAWS, len(user), generator=generator, dtype=torch.float64) for _ in range(2)]
        at = x.mean + (0.0 if x.variance is None else x.variance.sqrt()) * normal[0]
        slope = fit.model.slope + x.conformity.mean + x.conformity.variance.sqrt() * normal[1]
        if popularity == "none":
            return torch.sigmoid(at)
        z = scorer.given(pd.Index(pairs["item"]))
        if z is None and popularity == "posterior":
            z = fit.guide.popularity.posterior(item).sample((DRAWS,))
        elif z is None:
            z = fit.model.prior.population().expand((len(user),)).sample((DRAWS,))
        return torch.sigmoid(at + slope * fit.model.logit_term(z))


@pytest.mark.parametrize("popularity", MODES, ids=str)
def test_scores_against_draws(fit, pairs, popularity):
    some = pairs.iloc[::4].reset_index(drop=True)
    found = fit.predict(some, popularity=popularity)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = draws(fit, some, popularity).numpy()
    error = drawn.std(0) / DRAWS**0.5
    assert (np.abs(found["score"] - drawn.mean(0)) < 5 * error + 1e-6).all()


@pytest.mark.parametrize("variances", [(0.3, 0.0), (0.0, 0.3), (0.2, 0.2)])
def test_intervals_of_scores_against_draws(fit, variances):
    """The score is a function of x and d_u, popularity integrated over."""
    model, generator = fit.model, torch.Generator().manual_seed(2)
    mean = torch.tensor([-1.0, 0.2, 1.5]).double()
    beside = type(model.pairs(*torch.zeros(2, 1).long(), None, fit.guide.weights()).conformity)
    of_x, of_d = (torch.full_like(mean, each) for each in variances)
    affinity = pb.models.AffinityDistribution(mean, of_x, beside(torch.tensor([0.3, -0.2, 0.0]).double(), of_d))
    population = model.prior.population()
    found = scores(model, affinity, population, interval=0.8)
    normal = torch.randn(2, 20_000, 3, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        at = beside(affinity.conformity.mean + of_d.sqrt() * normal[1], torch.zeros(20_000, 3).double())
        drawn = model.mean_probability(
            pb.models.AffinityDistribution(mean + of_x.sqrt() * normal[0], None, at), population
        )
    torch.testing.assert_close(found.score, drawn.mean(0), rtol=0, atol=0.005)
    torch.testing.assert_close(found.score_sd, drawn.std(0), rtol=0.06, atol=2e-3)
    torch.testing.assert_close(found.score_lower, drawn.quantile(0.1, dim=0), rtol=0, atol=0.012)
    torch.testing.assert_close(found.score_upper, drawn.quantile(0.9, dim=0), rtol=0, atol=0.012)


@pytest.mark.parametrize("popularity", MODES, ids=str)
def test_lists_have_the_order_of_scores(fit, pairs, popularity):
    found = fit.recommend(list(fit.catalogue.users[:6]), k=5, popularity=popularity, exclude_seen=False)
    scored = fit.predict(pairs, popularity=popularity)
    for user, listed in found.groupby("user"):
        own = scored[scored["user"] == user].sort_values("score", ascending=False)["score"].head(5)
        np.testing.assert_allclose(listed["score"], own, rtol=1e-6)
    whole = fit.scorer(popularity).ranking_scores()(np.arange(6)).numpy()
    by_score = scored["score"].to_numpy().reshape(6, -1)
    for each, own in zip(whole, by_score, strict=True):
        assert (np.diff(own[np.argsort(each)]) > -1e-7).all()


def test_tables_by_user_are_the_integrals(fit, monkeypatch):
    scorer, user = fit.scorer("population"), torch.arange(6)
    item = torch.arange(15)
    with torch.no_grad():
        weights = fit.guide.weights()
        affinity = fit.model.conforming(fit.model.affinity.table(user, weights), user, weights)
        affinity.mean[0, 0] = 30.0  # beyond the table
        exact = scorer.mean_scores(affinity, item)
        monkeypatch.setattr(conforming_scores, "USER_NODES", 0)
        found = scorer.mean_scores(affinity, item)
    torch.testing.assert_close(found, exact, rtol=0, atol=2e-6)


@pytest.mark.parametrize("popularity", ["population", "prior", 0.7])
def test_candidates_of_lists_are_enough(fit, popularity, monkeypatch):
    """As in large catalogues: tables by user, and a few items of highest mean scored first."""
    exact = fit.scorer(popularity).ranking_scores()(np.arange(20)).numpy()
    for module in (scorer_module, conforming_scores):
        monkeypatch.setattr(module, "USER_NODES", 0)
    monkeypatch.setattr(best_expectations, "FIRST", 2)
    monkeypatch.setattr(best_expectations, "LAST_SHARE", 1)
    (block, column), *_ = fit.scorer(popularity).ranking().lists(np.arange(20), 3, None)
    assert list(block) == list(range(20))
    best = -np.sort(-exact, axis=1)[:, :3]
    np.testing.assert_allclose(np.take_along_axis(exact, column.numpy(), 1), best, atol=2e-6)


def test_the_probability_of_a_place_counts_draws(fit):
    popularity = MODES[-1]
    codes, listed = np.arange(6), np.tile(np.arange(15), (6, 1))
    found = fit.scorer(popularity).list_probability(codes, listed, 4, None, seed=0)
    if not fit.model.affinity.is_bayesian:
        assert np.isnan(found).all()
        return
    np.testing.assert_allclose(found.sum(1), 4)
    assert ((found > 0) & (found < 1)).any()


def test_users_have_slopes(fit):
    table, parameters = fit.users(interval=0.5), fit.parameters().set_index("name")["mean"]
    own = ["gamma_mean", "gamma_sd", "gamma_lower", "gamma_upper"]
    bias = [] if fit.model.affinity.user_bias is None else ["mean", "sd", "lower", "upper"]
    assert list(table.columns) == ["user", *bias, *own, "count", "positives"]
    q = fit.guide.weights()[SITE]
    np.testing.assert_allclose(table["gamma_mean"] - parameters["gamma"], q.loc.detach().squeeze(-1), atol=1e-6)
    np.testing.assert_allclose(table["gamma_sd"], q.scale.detach().squeeze(-1), rtol=1e-6)
    half = 0.6744897501960817 * table["gamma_sd"]
    np.testing.assert_allclose(table["gamma_upper"] - table["gamma_mean"], half, rtol=1e-5)
    np.testing.assert_allclose(table["gamma_mean"] - table["gamma_lower"], half, rtol=1e-5)
    assert parameters["conformity_scale"] > 0


def test_an_unseen_user_has_the_mean_slope_and_its_spread(fit):
    frame = pd.DataFrame({"user": ["nobody"], "item": ["i3"]})
    found = fit.predict(frame, popularity=3.0, unseen="prior")
    with torch.no_grad():
        item = torch.tensor([fit.catalogue.items.get_loc("i3")])
        x = fit.model.affinity.pairs(torch.tensor([-1]), item, None, fit.guide.weights())
        t = fit.model.logit_term(torch.tensor(3.0).double())
        of_x = 0.0 if x.variance is None else x.variance
        variance = of_x + (fit.model.conformity.log_scale.exp() * t).square()
        expected = pb.distributions.logistic_normal(x.mean + fit.model.slope * t, variance.sqrt())
    assert found["score"].item() == pytest.approx(expected.item(), abs=1e-6)


def test_saved_fits_are_the_same_bit_for_bit(fit, pairs, tmp_path):
    fit.save(tmp_path / "run")
    again = pb.load(tmp_path / "run")
    for popularity in MODES[:4]:
        pd.testing.assert_frame_equal(
            again.predict(pairs, popularity=popularity), fit.predict(pairs, popularity=popularity), check_exact=True
        )
    pd.testing.assert_frame_equal(again.users(), fit.users(), check_exact=True)
    pd.testing.assert_frame_equal(again.parameters(), fit.parameters(), check_exact=True)


@pytest.mark.filterwarnings("ignore:PB-D361")
def test_draws_for_arviz_have_the_scores(fit):
    rows = list(range(8))
    data = fit.to_arviz(draws=4000, rows=rows, groups=("posterior_predictive", "log_likelihood"))
    label = data["posterior_predictive"]["label"].to_numpy()[0]
    events = fit.events
    pairs = pd.DataFrame({"user": events.users[events.user[rows]], "item": events.items[events.item[rows]]})
    score = fit.predict(pairs, popularity="posterior")["score"].to_numpy()
    assert (np.abs(label.mean(0) - score) < 5 * np.sqrt(score * (1 - score) / 4000)).all()
    likelihood = np.exp(data["log_likelihood"]["label"].to_numpy()[0]).mean(0)
    right = np.where(events.label[rows] > 0, score, 1 - score)
    np.testing.assert_allclose(likelihood, right, atol=0.02)
    with pytest.warns(pb.errors.DataWarning, match=r"PB-D361: .*(vectors were|conformity of users was) estimated"):
        fit.to_arviz(draws=10, rows=rows, groups=("log_likelihood",))
