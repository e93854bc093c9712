import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from torch.distributions import constraints

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError, DataError, UnknownNameError
from pyro_popbias.prediction import best_items
from pyro_popbias.study import sections

TRAINING = {"epochs": 3, "batch_size": 150, "device": "cpu"}
POINTS = {"name": "embedding", "dim": 4, "posterior": "point", "user_bias": False}
pytestmark = pytest.mark.usefixtures("short_training")
SCORE_COLUMNS = ["score", "score_lower", "score_upper", "popularity_lower", "popularity_upper"]
# distributions of the default prior's support; a point has no interval, and tests of its own
POSITIVE = [name for name, cls in pb.GUIDES.items() if cls.fits(constraints.positive) and name != "point"]


def study_of(guide="gamma", **affinity):
    affinity = affinity or {**POINTS, "scale": 1.0}
    return pb.Study(model={"affinity": affinity}, guide={"name": guide}, training=TRAINING)


@pytest.fixture(scope="module", params=POSITIVE)
def fit(request, make_frame, short_training):
    frame = make_frame()
    untouched = frame.copy(deep=True)
    result = pb.fit(pb.Interactions.from_frame(frame, label="label", time="time"), study=study_of(request.param))
    pd.testing.assert_frame_equal(frame, untouched)
    return result


@pytest.fixture(scope="module")
def scored(make_frame, short_training):
    frame = make_frame().assign(affinity=lambda table: np.sin(np.arange(len(table))))
    events = pb.Interactions.from_frame(frame, label="label", time="time")
    return frame, pb.fit(events, study=study_of(name="fixed", score="affinity"))


@pytest.fixture
def pairs(frame):
    shuffled = frame[["item", "user", "time"]].sample(frac=1, random_state=1)
    return shuffled.set_index(pd.Index(np.arange(len(shuffled)) % 7))  # an index with repeats, which is ignored


def affinity_of(fit, table):
    users, items = fit.catalogue.users.get_indexer(table["user"]), fit.catalogue.items.get_indexer(table["item"])
    with torch.no_grad():
        return fit.model.affinity.pairs(torch.tensor(users), torch.tensor(items), None, {}).mean.numpy()


def parameter(fit, name):
    return fit.parameters().set_index("name")["mean"][name]


@pytest.mark.slow
def test_popularity(fit, frame):
    table = fit.popularity()
    assert list(table.columns) == (
        ["item", "period", "count", "positives", "mean", "sd", "lower", "upper", "prior_mean", "prior_only"]
    )
    counts = frame.groupby("item")["label"].agg(["size", "sum"]).loc[table["item"]]
    assert table["item"].is_unique
    assert table["count"].tolist() == counts["size"].tolist()
    assert table["positives"].tolist() == counts["sum"].tolist()
    assert (table["period"] == 0).all()
    assert not table["prior_only"].any()
    assert (table["lower"] > 0).all()
    assert (table["lower"] < table["mean"]).all()
    assert (table["mean"] < table["upper"]).all()
    np.testing.assert_allclose(table["prior_mean"], 1)  # Gamma(a, a)
    narrow = fit.popularity(interval=0.5)
    assert (narrow["lower"] > table["lower"]).all()
    assert (narrow["upper"] < table["upper"]).all()


def test_parameters(fit):
    table = fit.parameters()
    assert list(table.columns) == ["name", "mean", "sd", "lower", "upper"]
    assert {"intercept"} < set(table["name"])
    assert np.isfinite(table["mean"]).all()
    intercept = table[table["name"] == "intercept"].iloc[0]
    assert intercept["sd"] > 0
    assert intercept["lower"] < intercept["mean"] < intercept["upper"]
    others = table[table["name"] != "intercept"]
    if fit.study.guide.name == "point":
        assert others[["sd", "lower", "upper"]].isna().all(axis=None)
    else:
        assert ((others["lower"] < others["mean"]) & (others["mean"] < others["upper"])).all()


@pytest.mark.parametrize("interval", [0, 1, 1.5, True, "0.9", float("nan")])
def test_intervals_outside_zero_to_one_are_refused(fit, interval):
    calls = (
        fit.popularity,
        fit.parameters,
        fit.recommend,
        lambda interval: fit.predict(pd.DataFrame(), interval=interval),
    )
    for call in calls:
        with pytest.raises(ConfigError, match=r"PB-C083: interval must be above 0 and below 1, not "):
            call(interval=interval)


def test_predict_keeps_rows_and_order(fit, pairs):
    untouched = pairs.copy(deep=True)
    result = fit.predict(pairs)
    pd.testing.assert_frame_equal(pairs, untouched)
    assert list(result.columns) == ["user", "item", *SCORE_COLUMNS, "score_sd", "cold"]
    assert result.index.equals(pd.RangeIndex(len(pairs)))
    assert result["user"].tolist() == pairs["user"].tolist()
    assert result["item"].tolist() == pairs["item"].tolist()
    assert result[["score_lower", "score_upper", "score_sd"]].isna().all(axis=None)  # points have no error bar
    alone = fit.predict(pairs.iloc[[17]])
    np.testing.assert_allclose(alone["score"], result["score"][17], rtol=1e-12)


def test_population_score_is_the_closed_form(fit, pairs):
    a = parameter(fit, "concentration")
    expected = expit(affinity_of(fit, pairs)) * (1 - (a / (a + 1)) ** a)  # rate 1
    np.testing.assert_allclose(fit.predict(pairs)["score"], expected, rtol=1e-9)


def test_distributions_of_popularity_differ(fit, pairs):
    score = {mode: fit.predict(pairs, popularity=mode) for mode in ("population", "prior", "posterior", "none")}
    np.testing.assert_allclose(score["none"]["score"], expit(affinity_of(fit, pairs)), rtol=1e-12)
    for mode, table in score.items():
        edge = table[["popularity_lower", "score", "popularity_upper"]].to_numpy()
        assert ((edge >= 0) & (edge <= 1)).all()
        assert (np.diff(edge, axis=1) == 0).all() if mode == "none" else (np.diff(edge, axis=1) > 0).all()
    attention = {mode: score[mode]["score"] / score["none"]["score"] for mode in ("population", "posterior")}
    assert attention["population"].std() == pytest.approx(0, abs=1e-9)  # one distribution for all items
    pd.testing.assert_frame_equal(score["prior"], score["population"])  # one prior for all items
    by_item = attention["posterior"].groupby(pairs["item"].to_numpy())
    assert (by_item.max() - by_item.min()).max() < 1e-9
    mean = fit.popularity().set_index("item")["mean"]
    assert by_item.mean().corr(mean[by_item.mean().index], method="spearman") > 0.9


def test_wider_interval_is_wider(fit, pairs):
    for call in (
        lambda interval: fit.predict(pairs, interval=interval),
        lambda interval: fit.recommend(interval=interval),
    ):
        narrow, wide = (call(interval) for interval in (0.5, 0.95))
        assert (wide["popularity_lower"] < narrow["popularity_lower"]).all()
        assert (wide["popularity_upper"] > narrow["popularity_upper"]).all()
        pd.testing.assert_series_equal(wide["score"], narrow["score"])
    pd.testing.assert_frame_equal(fit.recommend(interval=0.9), fit.recommend())


UNSEEN = pd.DataFrame({"user": ["u1", "nobody", "u1", "nobody"], "item": ["i1", "i1", "nothing", "nothing"]})


@pytest.mark.parametrize("popularity", ["population", "prior", "posterior", "none"])
def test_unseen_ids(fit, popularity):
    message = r"PB-D048: 2 rows of unseen users \(nobody\) and 2 rows of unseen items \(nothing\) in 4 pairs; .*'prior'"
    with pytest.raises(DataError, match=message) as caught:
        fit.predict(UNSEEN, popularity=popularity)
    assert caught.value.exit_code == 3
    dropped = fit.predict(UNSEEN, popularity=popularity, unseen="drop")
    pd.testing.assert_frame_equal(dropped, fit.predict(UNSEEN.iloc[:1], popularity=popularity))
    kept = fit.predict(UNSEEN, popularity=popularity, unseen="prior")
    assert kept[["user", "item"]].equals(UNSEEN.astype("str"))
    a = parameter(fit, "concentration")
    attention = 1 if popularity == "none" else 1 - (a / (a + 1)) ** a
    rows = [1, 2, 3] if popularity != "posterior" else []  # vectors at their prior mean 0: the intercept is left
    np.testing.assert_allclose(kept["score"][rows], expit(parameter(fit, "intercept")) * attention, rtol=1e-9)
    if popularity == "posterior":  # an unseen item has the guide's member nearest to the prior
        assert kept["score"][2] == kept["score"][3]
        assert kept["score"][2] == pytest.approx(expit(parameter(fit, "intercept")) * (1 - (a / (a + 1)) ** a), rel=0.1)


def test_one_kind_of_unseen_id_is_named_alone(fit):
    with pytest.raises(DataError, match=r"PB-D048: 1 rows of unseen users \(nobody\) in 1 pairs"):
        fit.predict(UNSEEN.iloc[[1]])
    with pytest.raises(DataError, match=r"PB-D048: 1 rows of unseen items \(nothing\) in 1 pairs"):
        fit.predict(UNSEEN.iloc[[2]])


def test_unknown_words_are_refused(fit, pairs):
    with pytest.raises(ConfigError, match=r"PB-C012: unseen='prio'; did you mean 'prior'\? Choices: error, prior"):
        fit.predict(pairs, unseen="prio")
    for call in (lambda mode: fit.predict(pairs, mode), lambda mode: fit.recommend(popularity=mode)):
        with pytest.raises(UnknownNameError, match=r"PB-C011: popularity='posteriori' .* did you mean 'posterior'\?"):
            call("posteriori")
    with pytest.raises(DataError, match=r"PB-D005: no column 'item'; did you mean 'items'\?"):
        fit.predict(pairs.rename(columns={"item": "items"}))
    with pytest.raises(DataError, match="PB-D001: expected a DataFrame, got list"):
        fit.predict([("u1", "i1")])


@pytest.mark.parametrize("popularity", ["population", "prior", "posterior", "none", 1.5, {}])
def test_no_rows_give_no_rows(fit, pairs, popularity):
    for empty in (pairs.iloc[:0], pd.DataFrame(columns=["user", "item"])):
        table = fit.predict(empty, popularity=popularity)
        assert list(table.columns) == ["user", "item", *SCORE_COLUMNS, "score_sd", "cold"]
        assert not len(table)
    dropped = fit.predict(UNSEEN.iloc[1:], popularity=popularity, unseen="drop")
    assert dropped.shape == (0, len(table.columns))


def test_duplicate_columns_are_refused(fit, pairs):
    double = pd.concat([pairs, pairs[["item"]]], axis=1)
    with pytest.raises(DataError, match="PB-D007: duplicate column names: item; rename them"):
        fit.predict(double)


def at_value(fit, table, z):
    with torch.no_grad():
        return fit.model.conditional_probability(torch.tensor(affinity_of(fit, table)), torch.tensor(z)).numpy()


@pytest.mark.parametrize("number", [2, 1.5, np.float32(0.5), np.int64(1)])
def test_popularity_is_set_to_a_number(fit, pairs, number):
    table = fit.predict(pairs, popularity=number)
    np.testing.assert_allclose(table["score"], at_value(fit, pairs, float(number)), rtol=1e-12)
    np.testing.assert_allclose(table["score"], expit(affinity_of(fit, pairs)) * -np.expm1(-float(number)), rtol=1e-12)
    assert (table["popularity_lower"] == table["score"]).all()
    assert (table["popularity_upper"] == table["score"]).all()


def test_popularity_is_set_item_by_item(fit, pairs):
    z = {item: 0.1 + 0.2 * k for k, item in enumerate(fit.catalogue.items)}
    table = fit.predict(pairs, popularity={**z, "another item": 3.0})
    np.testing.assert_allclose(table["score"], at_value(fit, pairs, pairs["item"].map(z).to_numpy()), rtol=1e-12)
    pd.testing.assert_series_equal(table["popularity_lower"], table["score"], check_names=False)
    pd.testing.assert_series_equal(table["popularity_upper"], table["score"], check_names=False)
    same = dict.fromkeys(z, 1.5)
    pd.testing.assert_frame_equal(fit.predict(pairs, popularity=same), fit.predict(pairs, popularity=1.5))
    for wanted in (same, 1.5):
        unseen = fit.predict(UNSEEN, popularity=wanted if wanted == 1.5 else {**same, "nothing": 1.5}, unseen="prior")
        attention = 1 - np.exp(-1.5)
        np.testing.assert_allclose(unseen["score"][1:], expit(parameter(fit, "intercept")) * attention, rtol=1e-9)
    with pytest.raises(
        DataError, match=r"PB-D360: popularity has no value for 2 of 15 items \(i[0-9]+, i[0-9]+\); add"
    ):
        fit.predict(pairs, popularity=dict(list(z.items())[2:]))
    item = pairs["item"].iloc[0]  # only what is asked for must be there
    assert len(fit.predict(pairs[pairs["item"] == item], popularity={item: 1.0}))


@pytest.mark.parametrize("popularity", [0, -1.0, np.nan, np.inf, True])
def test_numbers_outside_the_support_are_refused(fit, pairs, popularity):
    for call in (lambda: fit.predict(pairs, popularity), lambda: fit.recommend(popularity=popularity)):
        with pytest.raises(ConfigError, match=r"PB-C360: popularity=.* must be a finite number > 0"):
            call()


def test_texts_and_tables_are_not_modes(fit, pairs):
    for popularity in ("forecast=0.5", "1.5", None, [1.0]):
        with pytest.raises(
            UnknownNameError, match=r"PB-C011: popularity=.* is not available.* Modes: population, prior"
        ):
            fit.predict(pairs, popularity)


@pytest.mark.parametrize("prior", ["normal", "gamma"])
def test_real_popularity_may_be_set_to_a_negative_number(events, prior):
    model = {"name": "additive", "affinity": POINTS, "prior": {"name": prior}}
    fit = pb.fit(events, study=pb.Study(model=model, guide={"name": prior}, training=TRAINING), progress=False)
    pairs = events.to_frame()
    for z in (-1.5, 0.0):
        expected = expit(affinity_of(fit, pairs) + parameter(fit, "gamma") * z)
        np.testing.assert_allclose(fit.predict(pairs, popularity=z)["score"], expected, rtol=1e-12)


@pytest.fixture(scope="module")
def bayesian(make_frame, short_training):
    events = pb.Interactions.from_frame(make_frame(), label="label", time="time")
    return pb.fit(events, study=study_of(name="embedding", dim=2, posterior="mean-field"), progress=False)


@pytest.mark.parametrize("popularity", ["population", "prior", "posterior", "none", 1.0])
def test_scores_of_a_bayesian_affinity_have_an_interval(bayesian, pairs, popularity):
    known = pairs[["user", "item"]].head(30)
    unseen = known.head(3).assign(item="nothing")
    table, narrow = (
        bayesian.predict(pd.concat([known, unseen]), popularity, interval=interval, unseen="prior")
        for interval in (0.9, 0.5)
    )
    assert (table["score_sd"] > 0).all()
    for wider, column, than in ((table, "score_lower", narrow), (narrow, "score_upper", table)):
        assert (wider[column] < than[column]).all()
    assert (table["score_lower"] < table["score"]).all()
    assert (table["score"] < table["score_upper"]).all()
    # each row is that of its pair alone, whichever distribution of popularity its item has
    alone = [bayesian.predict(part, popularity, unseen="prior") for part in (known, unseen)]
    pd.testing.assert_frame_equal(table, pd.concat(alone, ignore_index=True), rtol=1e-9)
    top = bayesian.recommend(k=2, popularity=popularity, interval=0.5)
    predicted = bayesian.predict(top, popularity, interval=0.5)
    np.testing.assert_allclose(top[SCORE_COLUMNS], predicted[SCORE_COLUMNS], rtol=1e-5)


def test_numbers_of_numpy_are_numbers_and_booleans_are_not(fit, pairs):
    expected = fit.predict(pairs, interval=float(np.float32(0.9)))
    pd.testing.assert_frame_equal(fit.predict(pairs, interval=np.float32(0.9)), expected)
    pd.testing.assert_frame_equal(fit.recommend(k=np.int64(3)), fit.recommend(k=3))
    for wrong in (True, np.bool_(True)):
        with pytest.raises(ConfigError, match="PB-C083: interval must be above 0 and below 1, not "):
            fit.predict(pairs, interval=wrong)
        with pytest.raises(ConfigError, match="PB-C084: k must be an integer >= 1, not "):
            fit.recommend(k=wrong)


def test_ids_may_be_integers(frame):
    numbered = frame.assign(user=frame["user"].str[1:].astype(int), item=frame["item"].str[1:].astype("int32"))
    fit = pb.fit(pb.Interactions.from_frame(numbered, label="label"), study=study_of(), progress=False)
    text = numbered.astype({"user": str, "item": str})
    for popularity in ("posterior", dict.fromkeys(range(15), 1.0), {str(k): 1.0 for k in range(15)}):
        pd.testing.assert_frame_equal(fit.predict(numbered, popularity), fit.predict(text, popularity))
    pd.testing.assert_frame_equal(fit.predict(numbered.astype(float)), fit.predict(text))
    for users in ([3, 5], np.array([3, 5]), pd.Series([3, 5], index=[9, 9]), pd.Index(["3", "5"]), (k for k in (3, 5))):
        pd.testing.assert_frame_equal(fit.recommend(users, k=2), fit.recommend(["3", "5"], k=2))


BY_ITEM = {f"i{k}": 0.1 + k % 7 for k in range(15)}


@pytest.mark.parametrize("popularity", ["population", "prior", "posterior", "none", 0.7, BY_ITEM])
def test_recommend(fit, frame, popularity):
    k = 3
    table = fit.recommend(k=k, popularity=popularity)
    assert list(table.columns) == ["user", "rank", "item", *SCORE_COLUMNS, "cold"]
    assert not table.merge(frame, on=["user", "item"]).size
    predicted = fit.predict(table, popularity=popularity)
    for name in SCORE_COLUMNS:
        np.testing.assert_allclose(table[name], predicted[name], rtol=1e-6)  # a table of affinities in float32
    unseen = len(fit.catalogue.items) - frame.groupby("user")["item"].nunique()
    for user, rows in table.groupby("user"):
        assert rows["rank"].tolist() == list(range(1, min(k, unseen[user]) + 1))
        assert rows["score"].is_monotonic_decreasing
        rest = pd.DataFrame({"user": user, "item": [i for i in fit.catalogue.items if i not in set(rows["item"])]})
        rest = rest[~rest["item"].isin(frame["item"][frame["user"] == user])]
        if len(rest):
            assert fit.predict(rest, popularity=popularity)["score"].max() <= rows["score"].min() * (1 + 1e-6)


def test_recommend_some_users(fit):
    everyone = fit.recommend(k=3)
    some = fit.recommend(["u5", "u2"], k=3)
    expected = pd.concat([everyone[everyone["user"] == user] for user in ("u5", "u2")], ignore_index=True)
    pd.testing.assert_frame_equal(some, expected)
    with pytest.raises(DataError, match=r"PB-D048: 2 unseen users, first nobody, none"):
        fit.recommend(["u5", "nobody", "none"])


def test_a_user_listed_twice_is_answered_once(fit):
    expected = fit.recommend(["u5", "u2"], k=3)
    pd.testing.assert_frame_equal(fit.recommend(["u5", "u2", "u5", "u5"], k=3), expected)
    assert expected["rank"].tolist()[:3] == [1, 2, 3]
    with pytest.raises(DataError, match="PB-D048: 1 unseen users, first nobody; unseen='prior'"):
        fit.recommend(["nobody", "nobody"])


def test_a_table_of_users_is_refused(fit, frame):
    with pytest.raises(
        ConfigError, match=r"PB-C015: users is a table; pass its column of ids, such as table\['user'\]"
    ):
        fit.recommend(frame[["user"]])


def test_a_ranking_by_given_popularity_needs_every_item(fit):
    with pytest.raises(
        DataError, match=r"PB-D360: popularity has no value for 14 of 15 items \(i.*, \.\.\.\); add them"
    ):
        fit.recommend(popularity={"i3": 1.0})


def test_no_users_get_no_rows(fit):
    none, some = fit.recommend([], k=3), fit.recommend(["u5"], k=3)
    pd.testing.assert_frame_equal(none, some.iloc[:0], check_index_type=False)


@pytest.mark.parametrize("popularity", ["population", "prior", "posterior", 0.7, BY_ITEM])
def test_blocks_do_not_matter(fit, popularity, monkeypatch):
    whole = fit.recommend(k=4, popularity=popularity)
    monkeypatch.setattr(best_items, "BLOCK_ELEMENTS", 3 * len(fit.catalogue.items) + 1)
    pd.testing.assert_frame_equal(fit.recommend(k=4, popularity=popularity), whole)
    monkeypatch.setattr(best_items, "BLOCK_ELEMENTS", 1)
    pd.testing.assert_frame_equal(fit.recommend(k=4, popularity=popularity), whole)


def test_number_of_items(fit):
    users, items = len(fit.catalogue.users), len(fit.catalogue.items)
    assert len(fit.recommend(k=10_000, exclude_seen=False)) == users * items
    for k in (0, -1, 2.0, True):
        with pytest.raises(ConfigError, match="PB-C084: k must be an integer >= 1, not "):
            fit.recommend(k=k)


def test_score_column(scored):
    frame, fit = scored
    result = fit.predict(frame, popularity="none")
    np.testing.assert_allclose(result["score"], expit(frame["affinity"] + parameter(fit, "intercept")), rtol=1e-12)
    with pytest.raises(DataError, match="PB-D005: no column 'affinity'"):
        fit.predict(frame.drop(columns="affinity"))
    with pytest.raises(
        DataError, match=r"PB-D068: column 'affinity' has 1 scores that are missing .* 400 rows; fill or"
    ):
        fit.predict(frame.assign(affinity=frame["affinity"].where(frame.index != 3)))
    with pytest.raises(ConfigError, match="PB-C003: a fixed score column has no value for pairs outside the data"):
        fit.recommend()


def test_seed(events, monkeypatch):
    drawn = iter([7, 2**32 - 1])
    monkeypatch.setattr(sections.secrets, "randbits", lambda _: next(drawn))
    assert [pb.fit(events, study=study_of(), seed=None).study.training.seed for _ in range(2)] == [7, 2**32 - 1]
    assert pb.fit(events, study=study_of(), seed=4).study.training.seed == 4
    study = pb.fit(events, study=study_of()).study
    assert study.training.seed == 0
    assert study.training.epochs == TRAINING["epochs"]
    with pytest.raises(ConfigError, match=r"PB-C083: \[training\] seed = -1"):
        pb.fit(events, study=study_of(), seed=-1)


def test_fits_in_one_process_do_not_disturb_each_other(events):
    torch.manual_seed(3)
    random = torch.get_rng_state()
    first = pb.fit(events, study=study_of(), guide="gamma")
    before = first.predict(events.to_frame())
    other = pb.fit(events, study=study_of(), guide="lognormal", seed=1)
    again = pb.fit(events, study=study_of(), guide="gamma")
    assert torch.equal(torch.get_rng_state(), random)
    assert other.study.guide.name == "lognormal"
    for table in (first.predict(events.to_frame()), again.predict(events.to_frame())):
        pd.testing.assert_frame_equal(table, before, check_exact=True)


def test_wrong_events_are_refused(frame):
    with pytest.raises(DataError, match="PB-D001: expected a DataFrame, got list; pass a pandas DataFrame or a table"):
        pb.fit([1, 2])
    with pytest.raises(DataError, match="PB-D062: the data have no labels, positives only"):
        pb.fit(pb.Interactions.from_frame(frame), study=pb.Study(data={"negatives": 0}))
