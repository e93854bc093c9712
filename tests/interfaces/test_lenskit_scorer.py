"""The component in LensKit's own pipelines."""

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError
from pyro_popbias.interfaces.lenskit_scorer import PopBiasConfig, PopBiasScorer

SECTIONS = {
    "model": {"affinity": {"name": "embedding", "posterior": "point"}},
    "training": {"phase_two": 0, "device": "cpu", "learning_rate": 0.2},
}
SHORT = {"epochs": 2, "embedding_size": 2, "study": SECTIONS}


def lenskit():
    """Skip where LensKit is missing; it is in an environment of its own where it does not go with the pinned versions."""
    return pytest.importorskip("lenskit", reason="needs lenskit: pip install 'pyro-popbias[lenskit]'")


def test_without_lenskit_one_line_says_what_to_install():
    try:
        import lenskit  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(
            ConfigError, match=r"PB-C550: PopBiasScorer needs lenskit; pip install 'pyro-popbias\[lenskit\]'"
        ):
            PopBiasScorer(PopBiasConfig())
    else:
        assert PopBiasScorer(epochs=3).config == PopBiasConfig(epochs=3)


def test_the_configuration_is_a_study():
    study = PopBiasConfig(model="additive", embedding_size=3, epochs=4, study={"guide": {"name": "gamma"}}).declared()
    assert (study.model.name, study.model.affinity.dim, study.training.epochs) == ("additive", 3, 4)
    with pytest.raises(ConfigError, match=r"PB-C077: .*epoch"):
        PopBiasConfig(study={"training": {"epoch": 4}}).declared()


@pytest.fixture(scope="module")
def ratings():
    sim = pb.simulate(users=40, items=25, interactions=900, dim=2, seed=0)
    codes = {side: pd.factorize(sim.frame[side])[0] * 10 + 5 for side in ("user", "item")}
    frame = pd.DataFrame({"user_id": codes["user"], "item_id": codes["item"], "rating": 1.0 + 3 * sim.frame["label"]})
    return frame.drop_duplicates(["user_id", "item_id"], ignore_index=True)


@pytest.fixture(scope="module")
def data(ratings):
    lenskit()
    from lenskit.data import from_interactions_df

    return from_interactions_df(ratings)


@pytest.fixture(scope="module")
def pipeline(data):
    from lenskit.pipeline import topn_pipeline

    config = PopBiasConfig(positive_if=">=4", **SHORT)
    made = topn_pipeline(PopBiasScorer, config, n=5, predicts_ratings="raw")
    made.train(data)
    return made


def test_lists_are_those_of_the_fit(pipeline, ratings):
    from lenskit import batch

    fitted = pipeline.node("scorer").component.fit_
    users = ratings["user_id"].unique()[:8]
    ours = fitted.recommend(users, k=5)
    found = batch.recommend(pipeline, users, n=5, n_jobs=1)
    for user in users:
        own = ours[ours["user"] == str(user)]
        listed = found.lookup(user_id=user)
        assert [str(item) for item in listed.ids()] == own["item"].tolist()
        np.testing.assert_allclose(listed.scores(), own["score"], rtol=1e-5)


def test_scores_are_those_of_the_fit_and_strangers_have_none(pipeline, ratings):
    from lenskit.data import ItemList

    fitted = pipeline.node("scorer").component.fit_
    user, items = ratings["user_id"][0], [5, 999, 15]
    pairs = pd.DataFrame({"user": str(user), "item": ["5", "15"]})
    scores = pipeline.run("scorer", query=user, items=ItemList(item_ids=items)).scores()
    np.testing.assert_allclose(scores[[0, 2]], fitted.predict(pairs)["score"], rtol=1e-5)
    assert np.isnan(scores[1])
    assert np.isnan(pipeline.run("scorer", query=-7, items=ItemList(item_ids=items)).scores()).all()


def test_evaluation(pipeline, ratings):
    from lenskit import batch
    from lenskit.data import ItemListCollection, UserIDKey
    from lenskit.metrics import NDCG, RunAnalysis

    users = ratings["user_id"].unique()[:8]
    listed = pipeline.node("scorer").component.fit_.recommend(users, k=5)
    wanted = listed[listed["rank"].isin([1, 3])].astype({"user": int, "item": int})
    test = ItemListCollection.from_df(wanted.rename(columns={"user": "user_id", "item": "item_id"}), UserIDKey)
    found = batch.recommend(pipeline, test, n=5, n_jobs=1)
    measured = RunAnalysis(NDCG(5)).measure(found, test).list_summary()
    # the first place and the third, where the first two could have been had; LensKit's discount is max(log2(rank), 1)
    np.testing.assert_allclose(measured["mean"], (1 + 1 / np.log2(3)) / 2)
    predicted = batch.predict(pipeline, test, n_jobs=1)
    assert len(predicted) == len(test)


def test_a_seed_decides_and_a_trained_one_is_kept(data):
    from lenskit.training import TrainingOptions

    one, other = PopBiasScorer(**SHORT), PopBiasScorer(**SHORT)
    one.train(data, TrainingOptions(rng=3))
    other.train(data, TrainingOptions(rng=3))
    assert one.fit_.study.training.seed == other.fit_.study.training.seed != 0
    assert one.fit_.study.data.negatives == 4  # clicks
    kept = one.fit_
    one.train(data, TrainingOptions(retrain=False))
    assert one.fit_ is kept


def test_what_the_data_lack_is_said(data):
    with pytest.raises(
        ConfigError, match=r"PB-C556: the interactions of the data set have no timestamp, .* they have user_id"
    ):
        PopBiasScorer(periods=2, **SHORT).train(data)
