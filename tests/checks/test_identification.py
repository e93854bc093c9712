"""Whether popularity is the like rate: the rule fails only where counts of rows could say otherwise and are not used."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.assembly.identification import COUNTS_REMEDY, REMEDY, warning_of
from pyro_popbias.checks.identification import BOUND, LEAST_ROWS, _partial, correlation, identification

pytestmark = pytest.mark.slow

TRAINING = {"epochs": 4, "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def _few_cycles(phase_two_as):
    """End phase two where q has arrived to a few hundredths of a nat, which no correlation sees."""
    with phase_two_as(steps=20, most_cycles=2):
        yield


def fitted(events, **model):
    affinity = {"name": "embedding", "dim": 2}
    study = pb.Study(model={"affinity": affinity, **model}, training=TRAINING)
    return pb.fit(events, study=study, progress=False)


def simulated(exposure, **options):
    options = {"users": 100, "items": 50, "interactions": 6_000, "dim": 2, "quality": 1.0, "seed": 0} | options
    return pb.simulate(exposure=exposure, **options).events


@pytest.fixture(scope="module")
def shown_unequally():
    return simulated(1.0)


@pytest.fixture(scope="module")
def unidentified(shown_unequally, _few_cycles):
    return fitted(shown_unequally, exposure="none")


def test_counts_that_are_not_used_fail_the_rule_and_the_words_say_what_to_do(unidentified):
    table, finding = identification(unidentified)
    assert (finding.check, finding.name, finding.bound) == ("identification", "popularity with like rate", BOUND)
    assert not finding.passed
    assert finding.value > 0.8
    assert finding.words.startswith(f"over {len(table)} items with 15 or more training rows, popularity and like rate")
    assert finding.words.endswith(f"allowed 0.5: {warning_of(unidentified.study)}")
    assert REMEDY in finding.words


def test_the_table_holds_training_rows_only(unidentified):
    table, _ = identification(unidentified)
    frame = unidentified.events.to_frame()
    rows = frame.groupby("item").size().reindex(table["item"]).to_numpy()
    assert (table["count"] >= LEAST_ROWS).all()
    assert (table["count"] <= rows).all()
    assert table["count"].sum() < rows.sum()
    assert table["log_count"].mean() == pytest.approx(0, abs=1e-12)
    likes = 1 / (1 + np.exp(-table["like_rate"])) * (table["count"] + 1) - 0.5
    assert np.allclose(likes, likes.round())
    popularity = unidentified.popularity().set_index("item")["mean"].reindex(table["item"])
    np.testing.assert_allclose(np.exp(table["popularity"]), popularity)
    assert table["quality"].isna().all()


def test_a_fit_with_counts_is_reported_with_what_counts_and_quality_go_with(shown_unequally):
    fit = fitted(shown_unequally)
    table, finding = identification(fit)
    assert warning_of(fit.study) == ""
    assert finding.passed
    assert np.isnan(finding.bound)
    shown = [correlation(table["popularity"], table["log_count"]), correlation(table["quality"], table["like_rate"])]
    assert min(shown) > 0.5
    expected = "; popularity and log count of {:.2f}, quality and like rate of {:.2f}; reported, never fails"
    assert finding.words.endswith(expected.format(*shown))


def test_a_prior_from_counts_identifies_popularity_without_a_quality(shown_unequally):
    log = simulated(1.0, seed=0, interactions=3_000).to_frame()
    counts = log.groupby("item").size().rename("count").reset_index()
    counts["count"] += np.arange(len(counts)) % 3
    _, finding = identification(fitted(shown_unequally, prior={"name": "gamma", "source": "counts", "counts": counts}))
    assert finding.passed
    assert "popularity and log count" in finding.words
    assert "quality" not in finding.words


def test_items_shown_at_random_are_reported_since_nothing_tells_more():
    fit = fitted(simulated(0.0))
    _, finding = identification(fit)
    assert fit.study.model.exposure == "none"
    assert finding.value > BOUND
    assert finding.passed
    assert np.isnan(finding.bound)
    assert finding.words.endswith(COUNTS_REMEDY)


def test_each_period_of_an_item_counts_and_real_popularity_is_no_logarithm(make_frame):
    events = pb.Interactions.from_frame(make_frame(rows=3_000), label="label", time="time", periods=2)
    fit = fitted(events, name="additive")
    table, finding = identification(fit)
    assert set(table["period"]) == {0, 1}
    assert table.groupby("period")["log_count"].mean().abs().max() < 1e-12
    cells = fit.popularity().set_index(["item", "period"])["mean"]
    assert np.allclose(table["popularity"], cells.loc[pd.MultiIndex.from_frame(table[["item", "period"]])])
    assert np.isfinite(finding.value)


@pytest.mark.usefixtures("short_training")
def test_where_it_does_not_apply(frame):
    positives = pb.Interactions.from_frame(frame[frame["label"] == 1][["user", "item"]].drop_duplicates())
    few = pb.Interactions.from_frame(frame[frame["item"].isin(["i1", "i2", "i3"])], label="label")
    labelled = pb.Interactions.from_frame(frame, label="label")
    for fit, words in (
        (fitted(positives), "negatives are sampled"),
        (fitted(few), "3 items have 15 or more training rows, too few"),
        (fitted(labelled, name="additive", latent="interaction"), "every row has a popularity of its own"),
    ):
        finding = identification(fit)[1]
        assert finding.passed
        assert np.isnan(finding.value)
        assert finding.words.startswith(words)


def test_the_correlation_is_given_counts():
    rng = np.random.default_rng(0)
    log_count, one, other = rng.normal(size=(3, 2_000))
    table = pd.DataFrame({"log_count": log_count, "popularity": log_count + one, "like_rate": log_count + other})
    assert table["popularity"].corr(table["like_rate"]) == pytest.approx(0.5, abs=0.1)
    assert _partial(table) == pytest.approx(0, abs=0.1)
    assert _partial(table.assign(like_rate=2 * log_count - one)) == pytest.approx(-1)
    assert np.isnan(_partial(table.assign(popularity=0.3)))


def test_it_is_a_rule_of_the_check(unidentified):
    check = unidentified.check()
    (finding,) = (finding for finding in check.findings if finding.check == "identification")
    assert finding in check.failures
    pd.testing.assert_frame_equal(check.tables["identification"], identification(unidentified)[0])
    assert "FAILS identification over " in str(check)


def test_it_needs_the_interactions(unidentified):
    with pytest.raises(pb.DataError, match="PB-D150: the run was saved without its interactions"):
        identification(replace(unidentified, events=None))
