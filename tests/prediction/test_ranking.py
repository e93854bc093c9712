"""Lists of best items equal those of scoring every item, over models, affinities and popularity modes."""

import numpy as np
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.models import AffinityDistribution
from pyro_popbias.prediction import best_expectations
from pyro_popbias.prediction.scorer import seen_items

pytestmark = pytest.mark.slow

USERS, ITEMS, K = 25, 400, 7
MODES = ("population", "prior", "posterior", "none", 0.7)


@pytest.fixture(scope="module", params=list(pb.MODELS))
def fit(request, affinity, random_fit):
    return random_fit(request.param, affinity, ITEMS)


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


@torch.no_grad()
@pytest.mark.parametrize("popularity", ["population", "none", 0.7])
def test_one_popularity_for_all_items_ranks_as_the_affinity(fit, popularity):
    mean = fit.model.affinity.table(torch.arange(USERS), fit.guide.weights()).mean
    if not fit.model.affinity.ranks_by_mean:
        # with equal variances
        own = fit.scorer(popularity).ranking()
        score = own.own(AffinityDistribution(mean, torch.full_like(mean, 0.8)))
    else:
        score = fit.scorer(popularity).mean_scores(
            fit.model.affinity.table(torch.arange(USERS), fit.guide.weights()),
            torch.arange(ITEMS),
            given=None if isinstance(popularity, str) else torch.full((ITEMS,), popularity).double(),
        )
    order = mean.argsort(1)
    assert (score.gather(1, order).diff() >= -1e-7 * score.amax()).all()
