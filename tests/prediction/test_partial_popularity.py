"""Popularity between the population's and an item's own."""

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb

BRIEF = {"epochs": 3, "batch_size": 256, "phase_two": 0, "device": "cpu"}
MODELS = ("product", "additive", "inverse-logistic", "pda")


def fitted(model, *, prior="gamma", guide="gamma", periods=1, **affinity):
    frame = pb.simulate(users=40, items=30, interactions=1_500, seed=0).frame
    frame = frame.assign(time=np.random.default_rng(0).permutation(len(frame)))
    frame = frame[(frame["item"] != "i3") | (frame["time"] < 300)]
    events = pb.Interactions.from_frame(frame, label="label", time="time", periods=periods)
    section = {"name": model, "prior": {"name": prior}, "affinity": {"name": "embedding", "dim": 3, **affinity}}
    return pb.fit(events, study=pb.Study(model=section, guide={"name": guide}, training=BRIEF), progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["product", "pda"])
@pytest.mark.parametrize("periods", [1, 3])
def test_the_ends_rank_as_population_and_posterior(model, periods):
    """Popularity is a factor there, so that the scores themselves are those of the modes."""
    fit = fitted(model, periods=periods)
    pairs = pd.DataFrame([(u, i) for u in fit.catalogue.users for i in fit.catalogue.items], columns=["user", "item"])
    for share, mode in ((0.0, "population"), (1.0, "posterior")):
        found = fit.predict(pairs, popularity=fit.partial_popularity(share))["score"]
        np.testing.assert_allclose(found, fit.predict(pairs, popularity=mode)["score"], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["additive", "inverse-logistic"])
def test_the_ends_are_near_population_and_posterior(model):
    """The value that stands for a distribution depends on the affinity there, but hardly."""
    fit = fitted(model)
    pairs = pd.DataFrame([(u, i) for u in fit.catalogue.users for i in fit.catalogue.items], columns=["user", "item"])
    for share, mode in ((0.0, "population"), (1.0, "posterior")):
        found = fit.predict(pairs, popularity=fit.partial_popularity(share))["score"]
        np.testing.assert_allclose(found, fit.predict(pairs, popularity=mode)["score"], atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    "parts",
    [{"model": each} for each in MODELS]
    + [{"model": "additive", "prior": "normal", "guide": "normal"}, {"model": "product", "guide": "point"}],
    ids=str,
)
def test_a_share_is_a_weighted_mean(parts):
    fit = fitted(**parts)
    real = parts["model"] == "additive"  # popularity adds to the logit there
    none, half, own, more = (
        np.array(list(fit.partial_popularity(share).values())) for share in (0, 0.5, 1, np.float64(2))
    )
    assert np.ptp(none) == 0
    assert np.ptp(own) > 0
    if not real:
        none, half, own, more = (np.log(each) for each in (none, half, own, more))
    np.testing.assert_allclose(half, (none + own) / 2, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(more, 2 * own - none, rtol=1e-9, atol=1e-12)
    lists = fit.recommend(k=3, popularity=fit.partial_popularity(0.5))
    assert len(lists) == 3 * len(fit.catalogue.users)


def test_a_share_that_is_no_number():
    fit = fitted("product")
    for wrong in (np.nan, np.inf, "0.5", True, None):
        with pytest.raises(
            pb.ConfigError, match="PB-C390: the share of an item's own popularity must be a finite number"
        ):
            fit.partial_popularity(wrong)
    for wrong in (1e5, -1e5):
        with pytest.raises(pb.ConfigError, match=r"PB-C390: with a share of .* popularity would be 0 or infinite for"):
            fit.partial_popularity(wrong)
