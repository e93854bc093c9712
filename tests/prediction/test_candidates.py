"""Lists of a selection of items, lists of users that the fit does not know, and items that are alike."""

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError, DataError, DataWarning

K, ITEMS = 4, 30
ORDERS = [
    ("product", "mean-field", "population"),
    ("product", "mean-field", "posterior"),
    ("additive", "point", "population"),
]


@pytest.fixture(scope="module", params=ORDERS, ids=lambda param: "-".join(param))
def asked(request, random_fit):
    model, affinity, popularity = request.param
    return random_fit(model, affinity, ITEMS), popularity


def test_a_selection_is_the_whole_list_without_the_others(asked):
    fit, popularity = asked
    items = list(fit.catalogue.items)
    chosen, excluded = items[3:20], items[:6]
    users = list(fit.catalogue.users[:7])
    whole = fit.recommend(users, k=ITEMS, popularity=popularity)
    some = fit.recommend(users, k=K, popularity=popularity, items=chosen, exclude=[*excluded, "gone"])
    left = (
        whole[whole["item"].isin(set(chosen) - set(excluded))]
        .groupby("user", sort=False)
        .head(K)
        .reset_index(drop=True)
    )
    assert some["item"].tolist() == left["item"].tolist()
    pd.testing.assert_frame_equal(some.drop(columns="rank"), left.drop(columns="rank"))
    assert some["rank"].max() == K


def test_draws_leave_out_what_lists_do(random_fit):
    fit = random_fit("product", "mean-field", ITEMS)
    chosen = list(fit.catalogue.items[:K])
    table = fit.recommend(fit.catalogue.users[:3], k=K, items=chosen, exclude_seen=False, p_top_k=True)
    assert (table["p_top_k"] == 1.0).all()
    assert set(table["item"]) == set(chosen)


def test_selections_that_cannot_be_meant(random_fit):
    fit = random_fit("product", "point", ITEMS)
    known = str(fit.catalogue.items[0])
    with pytest.warns(DataWarning, match="PB-D505: 1 of 2 items to choose from are unseen, first new;"):
        assert set(fit.recommend(k=1, items=[known, "new"], exclude_seen=False)["item"]) == {known}
    with pytest.warns(DataWarning, match="PB-D507: none of the 1 items to exclude is an item of the fit, first new;"):
        fit.recommend(k=1, exclude=["new"])
    with pytest.raises(DataError, match=f"PB-D506: none of the {ITEMS} items of the fit is left to recommend"):
        fit.recommend(k=1, exclude=fit.catalogue.items)
    with pytest.raises(DataError, match="PB-D506"):
        fit.recommend(k=1, items=[])
    with pytest.raises(ConfigError, match="PB-C530: items='i1' is a single string"):
        fit.recommend(k=1, items="i1")
    with pytest.raises(ConfigError, match="PB-C530: exclude is a table"):
        fit.recommend(k=1, exclude=pd.DataFrame({"item": ["i1"]}))


@pytest.mark.slow
@pytest.mark.parametrize("popularity", ["population", "posterior"])
def test_unseen_users_have_the_list_of_nobody(random_fit, popularity):
    fit = random_fit("product", "mean-field", ITEMS)
    users = [str(fit.catalogue.users[4]), "nobody", str(fit.catalogue.users[0]), "noone"]
    chosen = list(fit.catalogue.items[2:])
    options = {"k": K, "popularity": popularity, "items": chosen, "p_top_k": True}
    found = fit.recommend(users, unseen="prior", **options)
    assert list(found["user"].unique()) == users
    known = fit.recommend([users[0], users[2]], **options)
    seen = found[found["user"].isin(known["user"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(seen, known)
    scores = fit.predict(pd.DataFrame({"user": "nobody", "item": chosen}), popularity=popularity, unseen="prior")
    best = scores.sort_values("score", ascending=False, kind="stable").head(K)
    for user in ("nobody", "noone"):
        own = found[found["user"] == user]
        assert own["item"].tolist() == best["item"].tolist()
        np.testing.assert_allclose(own["score"], best["score"])
        assert own["rank"].tolist() == [1, 2, 3, 4]
        assert own["p_top_k"].isna().all()
    dropped = fit.recommend(users, unseen="drop", **options)
    pd.testing.assert_frame_equal(dropped, known)


def test_nothing_tells_items_apart_to_nobody(random_fit):
    fit = random_fit("product", "point", ITEMS)
    if fit.model.affinity.item_quality is not None:
        fit = random_fit("pda", "point", ITEMS)
    with pytest.warns(DataWarning, match="PB-D508: to users of whom nothing is known all items are the same"):
        found = fit.recommend(["nobody"], k=2, unseen="prior")
    assert found["item"].tolist() == list(fit.catalogue.items[:2])


@pytest.mark.parametrize("affinity", ["point", "mean-field", "factorization-machine"])
def test_similar_items_have_the_largest_cosine(random_fit, affinity):
    fit = random_fit("product", affinity, ITEMS)
    found = fit.similar(fit.catalogue.items[5], k=3)
    vectors = fit.model.affinity.item_means(fit.guide.weights()).detach().double().numpy()
    cosine = vectors @ vectors[5] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[5])
    order = [code for code in np.argsort(-cosine) if code != 5][:3]
    assert found["item"].tolist() == list(fit.catalogue.items[order])
    np.testing.assert_allclose(found["similarity"], cosine[order])
    assert list(found.columns) == ["rank", "item", "similarity", "count", "positives"]
    assert len(fit.similar(fit.catalogue.items[5], k=99)) == ITEMS - 1


def test_what_has_no_similar_items(random_fit):
    with pytest.raises(ConfigError, match="PB-C532: the affinity of this fit has no vectors of items"):
        random_fit("product", "linear", ITEMS).similar("i1")
    fit = random_fit("product", "mean-field", ITEMS)
    with pytest.raises(DataError, match="PB-D049: item 'j5' is unseen; did you mean 'i5'"):
        fit.similar("j5")
    fit.guide.affinity.set_rows("item_vectors", *(torch.full((ITEMS, 3), value) for value in (0.0, -1e9)))
    with pytest.raises(ConfigError, match="PB-C533: the vector of item 'i5' is 0, so that no item"):
        fit.similar("i5")


def test_one_dimension_tells_little(make_frame):
    events = pb.Interactions.from_frame(make_frame(), label="label")
    point = {"name": "embedding", "dim": 1, "posterior": "point", "scale": 0.5}
    pair = pb.pair(events, study=pb.Study(model={"affinity": point}))
    fit = pb.Fit(pair.study, events.catalogue, pair.model, pair.guide, None, pd.DataFrame(), events)
    with pytest.warns(DataWarning, match="PB-D509: the fit has kept one dimension of taste"):
        assert fit.similar("i1")["similarity"].abs().to_numpy() == pytest.approx(1.0)
