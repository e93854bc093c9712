"""Fits side by side on a test: differences with paired intervals."""

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.evaluation.bootstrap import ratio
from pyro_popbias.evaluation.evaluate import Evaluation
from pyro_popbias.evaluation.paired import differences

BRIEF = {"epochs": 3, "batch_size": 128, "phase_two": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def case():
    frame = pb.simulate(users=60, items=40, interactions=2_500, seed=0).frame.drop_duplicates(["user", "item"])
    train, test = pb.Interactions.from_frame(frame, label="label").split("item-uniform", test=0.2)
    fits = {}
    for dim in (2, 8):
        affinity = {"name": "embedding", "posterior": "point", "dim": dim}
        fits[str(dim)] = pb.fit(train, study=pb.Study(model={"affinity": affinity}, training=BRIEF), progress=False)
    return test, fits


@pytest.mark.slow
@pytest.mark.parametrize("candidates", ["all", "test"])
def test_values_are_those_of_each_fit(case, candidates):
    test, fits = case
    metrics = ("recall@20", "ndcg@5", "user_auc", "log_loss")
    table = pb.compare(fits, test, metrics=metrics, candidates=candidates, popularity="posterior").set_index("name")
    for name, fit in fits.items():
        alone = fit.evaluate(test, k=(5, 20), candidates=candidates, popularity="posterior").set_index("metric")[
            "value"
        ]
        for metric in metrics:
            assert table.loc[name, metric] == pytest.approx(alone[metric])
    for metric in metrics:
        assert (table.loc["2", [f"{metric}_difference{end}" for end in ("", "_lower", "_upper")]] == 0).all()
        gap = table.loc["8", metric] - table.loc["2", metric]
        assert table.loc["8", f"{metric}_difference"] == pytest.approx(gap)
        low, high = (table.loc["8", f"{metric}_difference_{end}"] for end in ("lower", "upper"))
        assert low <= gap <= high
    assert low < gap < high  # of log-losses, which all users move


def test_log_losses_of_the_posterior_are_log_scores(case):
    test, fits = case
    table = pb.compare(fits, test, metrics=("log_loss",), popularity="posterior")
    np.testing.assert_allclose(table["log_loss"], -table["log_score"], rtol=1e-9)


def system(values, ids=None):
    ids = np.arange(len(values)).astype(str) if ids is None else ids
    return Evaluation(ids, {"mean": ratio(values)}, ())


def test_a_paired_difference_is_sharper_than_the_values():
    """Users differ by far more than systems do: the interval of a constant gain is the gain."""
    values = np.random.default_rng(0).normal(0.0, 10.0, size=100)
    row = differences({"a": system(values), "b": system(values + 0.01)}, ["mean"]).loc["b"]
    np.testing.assert_allclose(
        row[["mean_difference", "mean_difference_lower", "mean_difference_upper"]], 0.01, rtol=1e-6
    )


def test_systems_need_the_same_users_and_metrics():
    with pytest.raises(pb.DataError, match="PB-D374: 'b' was judged on other users than the first"):
        differences({"a": system(np.ones(3)), "b": system(np.ones(4))}, ["mean"])
    with pytest.raises(pb.ConfigError, match="PB-C374: 'a' has no metric 'maen' on this test; did you mean 'mean'"):
        differences({"a": system(np.ones(3))}, ["maen"])


@pytest.mark.slow
def test_logs_of_positives_are_compared_by_their_rankings():
    frame = pb.simulate(users=60, items=40, interactions=2_500, seed=0).frame
    frame = frame.query("label == 1").drop(columns="label").drop_duplicates()
    train, test = pb.Interactions.from_frame(frame).split("item-uniform", test=0.2)
    fits = {
        name: pb.fit(train, model=name, study=pb.Study(training=BRIEF), progress=False) for name in ("product", "pda")
    }
    table = pb.compare(fits, test)
    assert table["ndcg@20"].notna().all()
    assert table["log_score"].isna().all()
    assert table["note"].str.contains("the test has no labels|not probabilities").all()
    assert table["ndcg@20"].is_monotonic_decreasing or table["recall@20"].is_monotonic_decreasing


def test_what_cannot_be_judged_is_noted(case):
    test, fits = case
    unseen = pb.Interactions.from_frame(
        pd.DataFrame({"user": ["x", "y"], "item": ["x", "y"], "label": [0, 1]}), label="label"
    )
    table = pb.compare(fits, unseen)
    assert (
        table["note"]
        .str.contains("PB-D371: no user with training rows has a relevant row among the 2 of the test")
        .all()
    )
    assert "ndcg@20" not in table
    with pytest.raises(pb.UnknownNameError, match="PB-C011"):
        pb.compare(fits, test, popularity="posteriori")
    with pytest.raises(pb.ConfigError, match="PB-C371"):
        pb.compare(fits, test, candidates="al")


def test_rows_that_a_fit_was_trained_on_are_refused_or_counted(case):
    test, fits = case
    own = fits["2"].events
    with pytest.raises(
        pb.DataError, match=r"PB-D370: \d+ of the \d+ rows of the test were trained on by '2'; evaluate on rows"
    ):
        pb.compare(fits, own)
    frame = pd.concat([test.to_frame(), own.to_frame().head(7)])
    table = pb.compare(fits, pb.Interactions.from_frame(frame, label="label"))
    assert (
        table["note"].str.contains(f"7 of {len(frame)} rows of the test were trained on, and count in log_score").all()
    )
    assert table["note"].str.contains(f"7 of {len(frame)} rows were trained on, and left out").all()
    assert not pb.compare(fits, test)["note"].str.contains("trained on").any()


@pytest.mark.parametrize(
    ("metric", "nearest"),
    [
        ("ndgc@20", "ndcg@20"),
        ("ndcg", "ndcg@20"),
        ("ndcg@x", "ndcg@20"),
        ("recal@5", "recall@5"),
        ("log-loss", "log_loss"),
    ],
)
def test_an_unknown_metric_is_answered_with_the_nearest(case, metric, nearest):
    test, fits = case
    with pytest.raises(
        pb.ConfigError, match=f"PB-C374: '2' has no metric '{metric}' on this test; did you mean '{nearest}'"
    ):
        pb.compare(fits, test, metrics=(metric,))
