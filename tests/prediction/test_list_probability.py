"""`p_top_k`: how often an item is in a list under the posterior of affinities."""

import numpy as np
import pandas as pd
import pytest
import torch

from pyro_popbias.prediction.list_probability import _places, list_probability
from pyro_popbias.prediction.scorer import seen_items

pytestmark = pytest.mark.slow

DRAWS, OURS = 1_000, 300
K, ITEMS = 4, 30


@pytest.fixture(scope="module", params=[("product", "mean-field"), ("additive", "mean-field"), ("product", "linear")])
def fit(request, random_fit):
    return random_fit(*request.param, ITEMS)


@torch.no_grad()
def by_hand(fit, popularity, users):
    """Return how often each item is among the first K of each user in independent draws of all weights, `(U, K)`."""
    weights, affinity = fit.guide.weights(), fit.model.affinity
    seen = torch.from_numpy(seen_items(fit.events)[users].toarray())
    count = torch.zeros(len(users), ITEMS)
    q = fit.guide.popularity.posterior(torch.arange(fit.catalogue.cells))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        for _ in range(DRAWS):
            drawn = {site: each.sample() for site, each in weights.items()}
            x = affinity.intercept + drawn["user_bias"][users]
            if "user_vectors" in drawn:
                x = x + (drawn["user_vectors"][users] @ drawn["item_vectors"].T).double()
            else:
                for side, rows in (("user", users), ("item", np.arange(ITEMS))):
                    index, value = affinity._rows(side, torch.as_tensor(rows))
                    own = (drawn[f"beta_{side}"][index] * value).sum(-1)
                    x = x + (own.unsqueeze(1) if side == "user" else own)
            score = x if popularity == "population" else fit.model.marginal_probability(x, q)
            top = score.double().masked_fill(seen, -torch.inf).topk(K, dim=1).indices
            count.scatter_add_(1, top, torch.ones(top.shape))
    return (count / DRAWS).numpy()


@pytest.mark.parametrize("popularity", ["population", "posterior"])
def test_probabilities_are_those_of_independent_draws(fit, popularity):
    users, every = np.array([3, 0, 11]), np.tile(np.arange(ITEMS), (3, 1))
    ranking, seen = fit.scorer(popularity).ranking(), seen_items(fit.events)
    of_users = fit.guide.affinity.sites_of("user")
    found = list_probability(ranking, users, every, K, seen, of_users=of_users, draws=OURS, seed=1)
    expected = by_hand(fit, popularity, users)
    # rare items are not Normal: at least as if they came once in a hundred draws
    error = np.sqrt(np.clip(expected * (1 - expected), 0.01, None) * (1 / OURS + 1 / DRAWS))
    assert (abs(found - expected) < 4.5 * error).all()
    np.testing.assert_allclose(found.sum(1), K)
    assert (found[seen[users].toarray()] == 0).all()
    assert found.std() > 0.1


def test_tables_have_the_column(fit):
    table = fit.recommend(k=K, p_top_k=True)
    assert list(table.columns)[-2:] == ["cold", "p_top_k"]
    assert table["p_top_k"].between(0, 1).all()
    pd.testing.assert_frame_equal(table.drop(columns="p_top_k"), fit.recommend(k=K))
    assert (table.groupby("rank")["p_top_k"].mean().diff().dropna() < 0.05).all()  # the first are the surest
    # a user's draws are the user's own, and the seed decides them
    few = list(fit.catalogue.users[[7, 2]])
    some = fit.recommend(few, k=K, p_top_k=True)
    expected = pd.concat([table[table["user"] == user] for user in few], ignore_index=True)
    pd.testing.assert_frame_equal(some, expected)
    assert (fit.recommend(few, k=K, p_top_k=True, seed=5)["p_top_k"] != some["p_top_k"]).any()
    assert len(fit.recommend([], k=K, p_top_k=True)) == 0


def test_whoever_gets_all_items_gets_them_surely(fit):
    table = fit.recommend(fit.catalogue.users[:2], k=ITEMS, exclude_seen=False, p_top_k=True)
    assert (table["p_top_k"] == 1.0).all()


@pytest.mark.parametrize("affinity", ["point", "factorization-machine"])
def test_points_have_none(random_fit, affinity):
    table = random_fit("product", affinity, ITEMS).recommend(k=2, p_top_k=True)
    assert table["p_top_k"].isna().all()


def test_items_of_equal_score_share_the_last_places():
    score = torch.tensor([[3.0, 1.0, 1.0, 1.0, 0.0], [0.0] * 5, [1.0, -torch.inf, -torch.inf, -torch.inf, -torch.inf]])
    expected = [[1, 1 / 3, 1 / 3, 1 / 3, 0], [0.4] * 5, [1, 0, 0, 0, 0]]
    np.testing.assert_allclose(_places(score, score, 2), expected)
    np.testing.assert_allclose(_places(score, score, 5), [[1] * 5, [1] * 5, [1, 0, 0, 0, 0]])


def test_no_item_is_surely_listed_where_no_dimension_is_kept(random_fit):
    """A list of items that are all alike is one of many."""
    fit = random_fit("product", "mean-field", ITEMS)
    fit.guide.affinity.set_rows("item_vectors", *(torch.full((ITEMS, 3), value) for value in (0.0, -1e9)))
    table = fit.recommend(k=K, p_top_k=True, exclude_seen=False)
    np.testing.assert_allclose(table["p_top_k"], K / ITEMS)
