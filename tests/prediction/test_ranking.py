"""Lists of best items equal those of scoring every item, over models, affinities and popularity modes."""

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.prediction import best_expectations
from pyro_popbias.prediction.scorer import seen_items

AFFINITIES = {
    "point": {"name": "embedding", "dim": 3, "posterior": "point"},
    "mean-field": {"name": "embedding", "dim": 3, "posterior": "mean-field"},
    "linear": {"name": "linear"},
    "factorization-machine": {"name": "factorization-machine", "dim": 3},
}
USERS, ITEMS, K = 25, 400, 7
MODES = ("population", "prior", "posterior", "none", 0.7)


def trained_as(model, affinity):
    """Return a fit whose vectors and variances are random and far from their starts."""
    sim = pb.simulate(users=USERS, items=ITEMS, interactions=3_000, seed=0)
    rng = np.random.default_rng(1)
    user_features = pd.DataFrame({"age": rng.normal(size=USERS)}, index=sim.events.users)
    item_features = pd.DataFrame(rng.normal(size=(ITEMS, 2)).round(1), index=sim.events.items, columns=["a", "b"])
    events = pb.Interactions.from_frame(
        sim.frame, label="label", user_features=user_features, item_features=item_features
    )
    study = pb.Study(model={"name": model, "affinity": AFFINITIES[affinity]})
    pair = pb.pair(events, study=study)
    generator = torch.Generator().manual_seed(2)
    for module in (pair.model, pair.guide):
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            # standard deviations of rows between a hundredth and a few units
            parameter.data.add_(noise * (1.5 if "log_scale" in name and parameter.dim() else 0.7))
    return pb.Fit(pair.study, events.catalogue, pair.model, pair.guide, None, pd.DataFrame(), events)


@pytest.fixture(scope="module", params=AFFINITIES)
def affinity(request):
    return request.param


@pytest.fixture(scope="module", params=list(pb.MODELS))
def fit(request, affinity):
    return trained_as(request.param, affinity)


@torch.no_grad()
def directly(scorer, users, seen):
    """Return the best items of users by the scores of all, and these scores."""
    affinity = scorer.model.affinity.table(torch.as_tensor(users), scorer.guide.weights())
    item = torch.arange(ITEMS)
    score = scorer.scores(affinity, item, given=scorer.given(scorer.catalogue.items)).score
    if seen is not None:
        score[torch.from_numpy(seen[users].toarray())] = -torch.inf
    order = np.lexsort((np.broadcast_to(item, score.shape), -score.numpy()))
    return order[:, :K], score.numpy()


@pytest.mark.parametrize("popularity", MODES)
def test_lists_are_those_of_scoring_every_item(fit, popularity, monkeypatch):
    monkeypatch.setattr(best_expectations, "FIRST", K + 1)
    monkeypatch.setattr(best_expectations, "LAST_SHARE", 2)
    scorer, users = fit.scorer(popularity), np.arange(USERS)
    seen = seen_items(fit.events)
    expected_items, score = directly(scorer, users, seen)
    user, item, found = (
        np.concatenate(parts)
        for parts in zip(*((u, i, s.score.numpy()) for u, i, s in scorer.top(users, K, seen)), strict=True)
    )
    assert (user == users.repeat(K)).all()
    np.testing.assert_allclose(found, score[user, item], rtol=1e-5)
    # scores within the rounding of products in float32 may change places
    np.testing.assert_allclose(found, score[user, expected_items.reshape(-1)], rtol=1e-5)
    assert (item == expected_items.reshape(-1)).mean() > 0.95


def test_scores_of_all_items_have_the_order_of_scores(fit):
    for popularity in MODES:
        scorer = fit.scorer(popularity)
        _, score = directly(scorer, np.arange(3), None)
        order = scorer.ranking_scores()(np.arange(3)).argsort(1, descending=True).numpy()
        found = np.take_along_axis(score, order, 1)
        assert (np.diff(found, axis=1) <= 2e-5 * found[:, 1:]).all()
