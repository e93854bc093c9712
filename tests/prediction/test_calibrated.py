"""Probabilities over the catalogue: w by hand, the integral over the registries, every popularity mode, and lists."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Normal

import pyro_popbias as pb
from pyro_popbias.distributions import quantile
from pyro_popbias.models import AffinityDistribution
from pyro_popbias.prediction import best_expectations, conforming_scores
from pyro_popbias.prediction import scorer as scorer_module
from pyro_popbias.prediction.calibrated_probability import integral, recalibrated
from pyro_popbias.prediction.calibrated_ranking import CalibratedMarginal
from pyro_popbias.prediction.calibration import Calibration
from pyro_popbias.prediction.intervention import scores, scores_at
from pyro_popbias.prediction.scorer import seen_items

pytestmark = pytest.mark.slow

VARIANTS = pb.variants().query("allowed and model != 'pda'")[["model", "prior"]].drop_duplicates()
PAIRS = [tuple(pair) for pair in VARIANTS.itertuples(index=False)]
MODES = ("population", "prior", "posterior", "none", 0.7, {"forecast": 0.5}, "mapping")
USERS, ITEMS = 25, 60
LOG_W = torch.tensor([-1.2, 0.0, 2.0, 6.0]).double()  # from a user of nearly all items to one of a few
MEAN, VARIANCE = torch.tensor([1.5, -0.5, 2.0, 0.3]).double(), torch.tensor([0.5, 0.0, 1.5, 2.0]).double()
UNTRAINED = {"epochs": 1, "batch_size": 500, "validation": 0.0, "phase_two": 0, "device": "cpu"}


def positives(periods=1, rows=700, seed=0):
    """Return a log of positives in which users come back to items, and its users differ in activity."""
    rng = np.random.default_rng(seed)
    user = np.minimum(rng.geometric(0.12, rows) - 1, USERS - 1)
    frame = pd.DataFrame({"user": user.astype(str), "item": rng.integers(ITEMS, size=rows).astype(str)})
    return pb.Interactions.from_frame(
        frame.assign(time=rng.uniform(0, 9, rows)), time="time" if periods > 1 else None, periods=periods
    )


def fitted(events, model="product", *, affinity="mean-field", data=None, **more):
    study = pb.Study(
        data=data or {},
        model={"name": model, "affinity": {"name": "embedding", "dim": 2, "scale": 0.5, "posterior": affinity}, **more},
        training=UNTRAINED,
    )
    return pb.fit(events, study=study, progress=False)


def shaken(fit):
    """Return a fit with random parameters, far from their starts."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in (*fit.model.affinity.parameters(), *fit.guide.parameters()):
            parameter.add_(0.6 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return fit


@pytest.fixture(scope="module")
def fits():
    names, ways = ("product", "additive", "inverse-logistic"), ("point", "mean-field")
    return {(name, how): shaken(fitted(positives(2), name, affinity=how)) for name in names for how in ways}


# -- w ---------------------------------------------------------------------------------------------------------------


def test_w_counts_distinct_items_of_positives_in_the_whole_log():
    frame = pd.DataFrame({"user": list("aaaabbc"), "item": list("1123244")})
    events = pb.Interactions.from_frame(frame)
    assert events.catalogue.user_items.tolist() == [3, 2, 1]
    labelled = pb.Interactions.from_frame(frame.assign(label=[1, 1, 1, 0, 1, 1, 0]), label="label")
    assert labelled.catalogue.user_items.tolist() == [2, 2, 0]
    pair = pb.pair(events, study=pb.Study(data={"negatives": 3}))
    found = Calibration.of(pair.model, events.catalogue, 3, device=torch.device("cpu")).log_weight.exp()
    # 4 items; an unseen user has the mean number of positives
    expected = [(4 - n) / (3 * n) for n in (3, 2, 1, 2)]
    torch.testing.assert_close(found, torch.tensor(expected).double())


def test_predict_divides_the_odds_by_w():
    events = positives()
    fit = fitted(events, affinity="point")
    pairs = pd.DataFrame({"user": events.users[:12], "item": events.items[:12]})
    plain, found = (fit.predict(pairs, popularity=0.7, calibrated=each) for each in (False, True))
    frame = pd.DataFrame({"user": events.users[events.user], "item": events.items[events.item]})
    n = frame.drop_duplicates().groupby("user").size()[pairs["user"]].to_numpy()
    w = (len(events.items) - n) / (4 * n)
    assert w.max() > 2 * w.min()
    odds = (plain["score"] / (1 - plain["score"])).to_numpy() / w
    np.testing.assert_allclose(found["score"], odds / (1 + odds), rtol=1e-10)
    unseen = pd.DataFrame({"user": ["nobody"], "item": [events.items[0]]})
    plain, found = (fit.predict(unseen, popularity=0.7, unseen="prior", calibrated=each) for each in (False, True))
    n = fit.catalogue.user_items.mean()
    odds = (plain["score"] / (1 - plain["score"])) * 4 * n / (len(events.items) - n)
    np.testing.assert_allclose(found["score"], odds / (1 + odds), rtol=1e-10)


def test_a_saved_run_has_w_without_its_interactions(tmp_path):
    fit = fitted(positives())
    fit.save(tmp_path / "run")
    loaded = pb.load(tmp_path / "run")
    pairs = pd.DataFrame({"user": fit.catalogue.users, "item": fit.catalogue.items[0]})
    expected = fit.predict(pairs, calibrated=True)
    pd.testing.assert_frame_equal(replace(loaded, events=None).predict(pairs, calibrated=True), expected)
    without = replace(loaded, catalogue=replace(loaded.catalogue, user_items=None))
    with pytest.raises(pb.DataError, match="PB-D420: calibrated=True needs the number of distinct items"):
        without.predict(pairs, calibrated=True)


def test_labels_of_the_data_and_ranking_scores_are_refused(make_frame):
    labelled = fitted(pb.Interactions.from_frame(make_frame(rows=600), label="label"))
    pair = pd.DataFrame({"user": labelled.catalogue.users[:1], "item": labelled.catalogue.items[:1]})
    for asked in (lambda fit: fit.predict(pair, calibrated=True), lambda fit: fit.recommend(calibrated=True)):
        with pytest.raises(
            pb.ConfigError, match="PB-C421: calibrated=True, but the labels of this fit are the data's own"
        ):
            asked(labelled)
        with pytest.raises(pb.ConfigError, match="PB-C420: calibrated=True, but the scores of this model rank items"):
            asked(fitted(positives(), "pda"))


# -- the integral ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def model(request):
    name, prior = request.param
    guide = "normal" if prior == "normal" else "gamma"
    study = pb.Study(model={"name": name, "prior": {"name": prior}, "affinity": {"name": "embedding", "dim": 2}})
    return pb.pair(positives(), study=study, guide=guide).model


def calibrated_as(model, log_w=LOG_W):
    """Return affinities as the scorer makes them."""
    inside = not model.has_logit_link
    return Calibration(log_w).added(AffinityDistribution(MEAN, VARIANCE), torch.arange(4), inside=inside)


@torch.no_grad()
def test_the_score_is_the_mean_of_calibrated_probabilities(model):
    """By Monte Carlo, and not the calibrated mean."""
    z = model.prior.population()
    found = scores(model, calibrated_as(model), z, interval=0.8)
    draws = 400_000
    torch.manual_seed(0)
    x = MEAN + VARIANCE.sqrt() * torch.randn(draws, 4, dtype=torch.float64)
    p = recalibrated(model.conditional_probability(x, z.expand((draws, 1)).sample().double()), LOG_W)
    error = (p.mean(0) - found.score).abs() / (p.std(0) / draws**0.5)
    assert error.max() < 4.5
    plain = scores(model, AffinityDistribution(MEAN, VARIANCE), z, interval=0.8)
    assert (recalibrated(plain.score, LOG_W) - found.score).abs().max() > 0.02


@torch.no_grad()
def test_ends_are_calibrated_probabilities(model):
    z, affinity = model.prior.population(), calibrated_as(model)
    found = scores(model, affinity, z, interval=0.8)
    sd = VARIANCE.sqrt()
    for level, of_score, of_popularity in (
        (0.1, found.score_lower, found.popularity_lower),
        (0.9, found.score_upper, found.popularity_upper),
    ):
        x = MEAN + sd * Normal(0.0, 1.0).icdf(torch.tensor(level)).double()
        inside = integral.dispatch(object)(model, x, LOG_W, z)  # by P(c=1 | x, z) alone
        torch.testing.assert_close(of_score, inside, rtol=0, atol=2e-7)
        given = scores_at(
            model, AffinityDistribution(MEAN, VARIANCE, log_weight=LOG_W), quantile(z, level), interval=0.8
        )
        torch.testing.assert_close(of_popularity, given.score, rtol=0, atol=1e-12)
    square = AffinityDistribution(MEAN, VARIANCE).expect(
        lambda x: integral.dispatch(object)(model, x, LOG_W, z).square()
    )[0]
    torch.testing.assert_close(found.score_sd**2, square - found.score**2, rtol=0, atol=1e-6)


@torch.no_grad()
def test_tables_are_the_integrals(model):
    """Tabulated where the model has one number for x and w, and by P(c=1 | x, z) elsewhere."""
    x, z = torch.linspace(-9, 9, 40).double().reshape(4, 10), model.prior.distribution(torch.arange(10))
    exact = integral.dispatch(object)(model, x, LOG_W.unsqueeze(1).expand_as(x), z)
    found = CalibratedMarginal(model, z, x)(x, log_weight=LOG_W.unsqueeze(1))
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=2e-7)
    shared = CalibratedMarginal(model, model.prior.population(), x)(x, log_weight=LOG_W.unsqueeze(1))
    torch.testing.assert_close(shared, exact, rtol=1e-5, atol=2e-7)


# -- modes -----------------------------------------------------------------------------------------------------------


def of_mode(fit, mode):
    return {item: 0.2 + 0.1 * n for n, item in enumerate(fit.catalogue.items)} if mode == "mapping" else mode


@torch.no_grad()
@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("name", ["product", "additive", "inverse-logistic"])
@pytest.mark.parametrize("how", ["point", "mean-field"])
def test_every_mode_is_calibrated_pair_by_pair(fits, name, how, mode):
    fit = fits[name, how]
    code = torch.arange(12)
    pairs = pd.DataFrame({"user": fit.catalogue.users[:12], "item": fit.catalogue.items[:12]})
    found = fit.predict(pairs, popularity=of_mode(fit, mode), calibrated=True)
    affinity = fit.model.pairs(code, code, None, fit.guide.weights())
    n = fit.catalogue.user_items[:12]
    w = torch.from_numpy((len(fit.catalogue.items) - n) / (4 * n)).log()
    scorer = fit.scorer(of_mode(fit, mode))
    given = scorer.given(fit.catalogue.items[:12])
    if given is not None:
        expected = affinity.expect(lambda x: recalibrated(fit.model.conditional_probability(x, given), w))[0]
    elif mode == "none":
        expected = affinity.expect(lambda x: recalibrated(torch.sigmoid(x), w))[0]
    else:
        z = fit.model.prior.population().expand((12,))
        if mode != "population":
            count = fit.catalogue.count.reshape(-1, 2)[:12]
            cell = code * 2 + torch.from_numpy(np.where(count[:, 1] > 0, 1, 0))
            z = fit.model.prior.distribution(cell) if mode == "prior" else fit.guide.popularity.posterior(cell)
        expected = affinity.expect(lambda x: integral.dispatch(object)(fit.model, x, w, z))[0]
    np.testing.assert_allclose(found["score"], expected.numpy(), atol=2e-7)
    assert (found["popularity_lower"] <= found["score"] + 1e-9).all() or how == "mean-field"
    if how == "mean-field":
        assert ((found["score_lower"] < found["score"]) & (found["score"] < found["score_upper"])).all()
        assert (found["score_sd"] > 0).all()


# -- lists -----------------------------------------------------------------------------------------------------------


def calibrated_scorer(fit, popularity):
    log_w = torch.linspace(-1.0, 4.0, len(fit.catalogue.users) + 1, dtype=torch.float64)
    return replace(fit.scorer(popularity), calibration=Calibration(log_w))


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in pb.MODELS if not pb.MODELS[name].pairwise])
def test_lists_are_those_of_scoring_every_item(name, affinity, random_fit, monkeypatch):
    monkeypatch.setattr(best_expectations, "FIRST", 8)
    monkeypatch.setattr(best_expectations, "LAST_SHARE", 2)
    fit, users, k = random_fit(name, affinity, 150), np.arange(USERS), 7
    seen, item = seen_items(fit.events), torch.arange(150)
    for mode in ("population", "prior", "posterior", "none", 0.7, "mapping"):
        scorer = calibrated_scorer(fit, of_mode(fit, mode))
        table = fit.model.affinity.table(torch.arange(USERS), fit.guide.weights())
        given = scorer.given(fit.catalogue.items)
        score = scorer.scores(scorer._calibrated(table, torch.arange(USERS)), item, given=given).score
        score[torch.from_numpy(seen.toarray())] = -torch.inf
        best = score.sort(dim=1, descending=True).values[:, :k]
        user, listed, found = (
            np.concatenate(parts)
            for parts in zip(*((u, i, s.score.numpy()) for u, i, s in scorer.top(users, k, seen)), strict=True)
        )
        assert (user == users.repeat(k)).all()
        np.testing.assert_allclose(found, score[user, listed].numpy(), rtol=1e-5)
        np.testing.assert_allclose(found, best.reshape(-1).numpy(), rtol=2e-5)


@pytest.mark.filterwarnings("ignore:PB-C461")  # slopes and spread of popularity are both learned
@pytest.mark.parametrize("popularity", ["population", 0.7])
def test_users_who_differ_in_conformity_are_calibrated_by_their_tables(popularity, monkeypatch):
    fit = shaken(fitted(positives(), "additive", conformity=True))
    users = np.arange(6)
    exact = calibrated_scorer(fit, popularity).ranking_scores()(users).numpy()
    for module in (scorer_module, conforming_scores):
        monkeypatch.setattr(module, "USER_NODES", 0)
    monkeypatch.setattr(best_expectations, "FIRST", 4)
    monkeypatch.setattr(best_expectations, "LAST_SHARE", 1)
    (_, column), *_ = calibrated_scorer(fit, popularity).ranking().lists(users, 3, None)
    best = -np.sort(-exact, axis=1)[:, :3]
    np.testing.assert_allclose(np.take_along_axis(exact, column.numpy(), 1), best, atol=2e-6)


def test_recommend_shows_what_predict_shows(fits):
    fit = fits["product", "mean-field"]
    for mode in ("posterior", "population"):
        lists = fit.recommend(k=4, popularity=mode, calibrated=True, p_top_k=True)
        shown = fit.predict(lists[["user", "item"]], popularity=mode, calibrated=True)
        np.testing.assert_allclose(lists["score"], shown["score"], rtol=1e-6)
        np.testing.assert_allclose(lists["score_upper"], shown["score_upper"], rtol=1e-6)
        assert lists["p_top_k"].between(0, 1).all()
        assert (lists.groupby("user")["score"].diff().dropna() <= 0).all()
