"""Evaluating fits: what is relevant, what is left out, and what the table says."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import pyro_popbias as pb
from pyro_popbias.cli.app import app

pytestmark = pytest.mark.slow

POINTS = {"name": "embedding", "dim": 4, "posterior": "point"}
BRIEF = {"epochs": 3, "batch_size": 128, "phase_two": 0, "device": "cpu"}
MODELS = ("product", "additive", "inverse-logistic", "pda")


def split(model, periods=1, **log):
    """Return train and test without repeated pairs, and a fit of train."""
    simulation = pb.simulate(model=model, users=40, items=30, interactions=900, seed=0)
    frame = simulation.frame.drop_duplicates(["user", "item"]).reset_index(drop=True)
    frame["time"] = np.random.default_rng(0).permutation(len(frame))
    if "label" in frame and (model == "pda" or not log.get("labels", True)):
        frame = frame[frame["label"] == 1].drop(columns="label")
    label = "label" if "label" in frame else None
    events = pb.Interactions.from_frame(frame, label=label, time="time", periods=periods)
    return events.split("random", test=0.3)


def fitted(train, model, **affinity):
    study = pb.Study(model={"name": model, "affinity": POINTS | affinity}, training=BRIEF)
    return pb.fit(train, study=study, progress=False)


@pytest.fixture(scope="module")
def case():
    train, test = split("product")
    return train, test, fitted(train, "product")


def by_metric(table):
    return table.set_index("metric")["value"]


@pytest.mark.parametrize("popularity", ["population", "prior", "posterior", "none", 0.7])
def test_all_is_the_list_of_recommend(case, popularity):
    train, test, fit = case
    found = by_metric(fit.evaluate(test, k=(5,), popularity=popularity))
    lists = fit.recommend(k=5, popularity=popularity)
    wanted = test.to_frame().query("label == 1")
    users = wanted["user"].unique()
    hit = lists.merge(wanted, on=["user", "item"])
    recall = (hit.groupby("user").size() / wanted.groupby("user").size()).reindex(users, fill_value=0.0)
    assert found["recall@5"] == pytest.approx(recall.fillna(0.0).mean())
    shown = lists[lists["user"].isin(users)]
    rows = train.to_frame().groupby("item").size()
    assert found["average_popularity@5"] == pytest.approx(rows.loc[shown["item"]].mean())


@pytest.mark.parametrize("popularity", ["population", "posterior", "none"])
def test_rows_are_judged_by_their_predictions(case, popularity):
    _, test, fit = case
    frame = test.to_frame()
    score = fit.predict(frame, popularity=popularity)["score"]
    found = by_metric(fit.evaluate(test, popularity=popularity))
    label = frame["label"]
    assert found["log_loss"] == pytest.approx(-np.log(np.where(label == 1, score, 1 - score)).mean())
    assert found["brier"] == pytest.approx(((score - label) ** 2).mean())


def test_candidates_of_the_test_are_its_own_rows(case):
    _, test, fit = case
    found = by_metric(fit.evaluate(test, k=(3, 1_000), candidates="test"))
    frame = test.to_frame().assign(score=fit.predict(test.to_frame())["score"].to_numpy())
    frame = frame[frame.groupby("user")["label"].transform("max") == 1].sort_values("score", ascending=False)
    top = frame.groupby("user").head(3).groupby("user")["label"].sum()
    assert found["precision@3"] == pytest.approx((top / 3).mean())
    assert found["recall@1000"] == 1.0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("candidates", ["all", "test"])
def test_every_model_is_evaluated(model, candidates):
    train, test = split(model)
    table = fitted(train, model).evaluate(test, candidates=candidates, interval=0.8)
    assert list(table.columns) == ["metric", "value", "lower", "upper"]
    value = by_metric(table)
    assert ("log_loss" in value.index) == (model != "pda")
    assert value.drop([name for name in value.index if "[" in name]).notna().all()
    assert (table["lower"] <= table["upper"]).loc[table["value"].notna()].all()


def test_logs_of_positives_have_lists_only():
    train, test = split("product", labels=False)
    metrics = set(fitted(train, "product").evaluate(test)["metric"])
    assert "ndcg@20" in metrics
    assert not metrics & {"auc", "user_auc", "log_loss", "brier", "calibration_error"}


def test_the_value_does_not_depend_on_the_order_of_the_test(case):
    _, test, fit = case
    order = np.random.default_rng(0).permutation(len(test))
    frame = test.to_frame().iloc[order]
    again = pb.Interactions.from_frame(frame.drop(columns="time"), label="label")
    one, other = (fit.evaluate(each)["value"] for each in (test, again))
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_rows_that_were_trained_on_are_counted(case):
    train, test, fit = case
    frame = pd.concat([test.to_frame(), train.to_frame().head(10)])
    mixed = pb.Interactions.from_frame(frame.drop(columns="time"), label="label")
    with pytest.warns(pb.DataWarning, match=f"PB-D370: 10 of {len(frame)} rows were trained on, and left out"):
        table = fit.evaluate(mixed)
    alone = fit.evaluate(test)
    pd.testing.assert_series_equal(by_metric(table), by_metric(alone))
    assert any("10 of" in note for note in table.attrs["notes"])
    with pytest.raises(
        pb.DataError, match=r"PB-D370: \d+ of the \d+ rows of the test were trained on; evaluate on rows"
    ):
        fit.evaluate(train)


def test_unseen_ids_and_users_without_a_positive_are_counted(case):
    train, test, fit = case
    frame = test.to_frame()[["user", "item", "label"]]
    lonely = frame["user"].iloc[0]
    frame.loc[frame["user"] == lonely, "label"] = 0
    strange = pd.DataFrame({"user": ["nobody", train.users[0]], "item": [train.items[0], "nothing"], "label": [1, 1]})
    table = fit.evaluate(pb.Interactions.from_frame(pd.concat([frame, strange]), label="label"))
    notes = " ".join(table.attrs["notes"])
    rows = len(frame) + 2
    assert f"1 of {rows} rows are of users without training rows" in notes
    assert f"1 of {rows} rows are of items without training rows" in notes
    assert "users have no relevant row and no list" in notes


def test_one_length_is_a_number(case):
    _, test, fit = case
    for one in (5, np.int64(5), [5], np.array([5, 5])):
        pd.testing.assert_frame_equal(fit.evaluate(test, k=one), fit.evaluate(test, k=(5,)))


@pytest.mark.parametrize("candidates", ["all", "test"])
def test_a_test_of_one_class_has_no_metrics_of_probabilities(case, candidates):
    _, test, fit = case
    ones = pb.Interactions.from_frame(test.to_frame().query("label == 1").drop(columns=["label", "time"]))
    metrics = set(fit.evaluate(ones, candidates=candidates)["metric"])
    assert "ndcg@20" in metrics
    assert not metrics & {"auc", "user_auc", "log_loss", "brier", "calibration_error"}


def test_what_is_left_is_counted(case):
    train, test, fit = case
    strange = pd.DataFrame({"user": ["nobody"] * 3, "item": [train.items[0]] * 3, "label": [1, 1, 0]})
    frame = pd.concat([test.to_frame()[["user", "item", "label"]], strange])
    notes = fit.evaluate(pb.Interactions.from_frame(frame, label="label")).attrs["notes"]
    assert f"{len(test)} rows of {test.to_frame()['user'].nunique()} users are left" in notes
    assert not any("are left" in note for note in fit.evaluate(test).attrs["notes"])


@pytest.mark.parametrize("candidates", ["all", "test"])
def test_scores_that_are_all_alike_are_said(case, candidates):
    """Without vectors a user's items have one affinity, and only their own popularity tells them apart."""
    train, test, _ = case
    empty = {f"{side}_vectors": pd.DataFrame({"id": getattr(train, f"{side}s"), "a": 0.0}) for side in ("user", "item")}
    study = pb.Study(model={"affinity": {"name": "fixed", **empty}}, training=BRIEF)
    fit = pb.fit(train, study=study, progress=False)
    notes = fit.evaluate(test, k=5, candidates=candidates).attrs["notes"]
    assert any("users chance decides between items of equal score" in note for note in notes)
    notes = fit.evaluate(test, k=5, candidates=candidates, popularity="posterior").attrs["notes"]
    assert not any("equal score" in note for note in notes)


def test_intervals_stay_where_a_metric_can_be(case):
    _, test, fit = case
    for popularity in ("population", "posterior"):
        table = fit.evaluate(test, k=(3, 25), popularity=popularity, interval=0.99).set_index("metric").dropna()
        shares = table.drop([name for name in table.index if name.startswith(("average", "log", "popularity"))])
        assert (shares["lower"] >= 0).all()
        assert (shares["upper"] <= 1).all()
        assert (table["lower"] <= table["value"]).all()
        assert (table["value"] <= table["upper"]).all()


def test_nobody_that_is_known(case):
    train, _, fit = case
    frame = pd.DataFrame({"user": ["nobody", "no one"], "item": [train.items[0]] * 2, "label": [1, 0]})
    with pytest.raises(pb.DataError, match="PB-D371: no user with training rows has a relevant row among the 2 of the"):
        fit.evaluate(pb.Interactions.from_frame(frame, label="label"))


def test_wrong_arguments_are_refused(case):
    _, test, fit = case
    with pytest.raises(pb.ConfigError, match="PB-C371: unknown candidates 'al'; did you mean 'all'"):
        fit.evaluate(test, candidates="al")
    with pytest.raises(pb.ConfigError, match="PB-C370: k is empty"):
        fit.evaluate(test, k=())
    for wrong in ((0,), 0, True, 20.0, "20", ("20",)):
        with pytest.raises(pb.ConfigError, match="PB-C084: k must be an integer >= 1"):
            fit.evaluate(test, k=wrong)
    with pytest.raises(pb.DataError, match="PB-D001: expected a DataFrame, got list"):
        fit.evaluate([1, 2])
    negative = pb.Interactions.from_frame(test.to_frame().query("label == 0").assign(time=0), label="label")
    with pytest.raises(pb.DataError, match="PB-D371: no user with training rows has a relevant row"):
        fit.evaluate(negative)


def test_one_distribution_for_all_items_ranks_as_the_affinity_does(case):
    """With the population's distribution the intervention moves values and not ranks."""
    train, test, _ = case
    for model in ("product", "additive", "inverse-logistic"):
        fit = fitted(train, model, user_bias=False)
        lists = [fit.recommend(k=10, popularity=mode)[["user", "item"]] for mode in ("population", "none")]
        pd.testing.assert_frame_equal(*lists)
        tables = [fit.evaluate(test, popularity=mode) for mode in ("population", "none")]
        same = ~tables[0]["metric"].isin(["auc", "log_loss", "brier", "calibration_error"])
        pd.testing.assert_frame_equal(tables[0][same], tables[1][same])


def test_the_command_prints_the_table(case, tmp_path):
    train, test, _ = case
    data = tmp_path / "train.csv"
    train.to_frame().to_csv(data, index=False)
    test.to_frame().to_csv(tmp_path / "test.csv", index=False)
    study = pb.Study(
        data={"path": str(data), "user": "user", "item": "item", "label": "label"},
        model={"affinity": POINTS},
        training=BRIEF,
    )
    (tmp_path / "study.toml").write_text(study.to_toml())
    run = CliRunner().invoke
    assert run(app, ["fit", str(tmp_path / "study.toml"), "--out", str(tmp_path / "run")]).exit_code == 0
    done = run(app, ["evaluate", str(tmp_path / "run"), str(tmp_path / "test.csv"), "-k", "5", "-k", "10"])
    assert done.exit_code == 0, done.output
    assert "ndcg@5" in done.output
    assert "recall@10[decile 10]" in done.output
    again = run(
        app,
        [
            "evaluate",
            str(tmp_path / "run"),
            str(tmp_path / "test.csv"),
            "--popularity",
            "posterior",
            "-o",
            str(tmp_path / "t.csv"),
        ],
    )
    assert again.exit_code == 0, again.output
    table = pd.read_csv(tmp_path / "t.csv")
    fit = pb.load(tmp_path / "run")
    np.testing.assert_allclose(table["value"], fit.evaluate(test, popularity="posterior")["value"])
