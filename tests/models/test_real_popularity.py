"""A popularity on the whole line: the additive model with the Normal prior and guide, and who refuses it."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from torch.distributions import Gamma, LogNormal, Normal, constraints

import pyro_popbias as pb
from pyro_popbias.distributions import draw
from pyro_popbias.distributions.supports import lies_inside, same_support
from pyro_popbias.errors import ConfigError, IncompatibleError

SLOPE, INTERCEPT = 1.0, -0.5
ITEMS = 500
NORMAL = {"name": "additive", "prior": {"name": "normal"}}


def vectors(name, number, random):
    frame = pd.DataFrame(random.normal(size=(number, 4)) / 2**0.5, columns=list("abcd"))
    frame.insert(0, "id", [f"{name}{code}" for code in range(number)])
    return frame


def simulated(seed, users=400, rows=25_000):
    """Return interactions of sigma(u . i + b0 + slope z), z ~ Normal(0, 1), with the vectors and z."""
    random = np.random.default_rng(seed)
    user_vectors, item_vectors = vectors("u", users, random), vectors("i", ITEMS, random)
    z = random.normal(size=ITEMS)
    user, item = random.integers(users, size=rows), random.integers(ITEMS, size=rows)
    x = (user_vectors.iloc[user, 1:].to_numpy() * item_vectors.iloc[item, 1:].to_numpy()).sum(1) + INTERCEPT
    label = (random.random(rows) < expit(x + SLOPE * z[item])).astype(int)
    ids = {"user": user_vectors["id"].to_numpy()[user], "item": item_vectors["id"].to_numpy()[item]}
    events = pb.Interactions.from_frame(pd.DataFrame({**ids, "label": label}), label="label")
    return events, user_vectors, item_vectors, pd.DataFrame({"item": item_vectors["id"], "z": z})


@pytest.mark.slow
def test_normal_popularity_is_recovered():
    events, user_vectors, item_vectors, truth = simulated(seed=0)
    affinity = {"name": "fixed", "user_vectors": user_vectors, "item_vectors": item_vectors}
    study = pb.Study(model={**NORMAL, "affinity": affinity}, guide={"name": "normal"}, training={"validation": 0.0})
    fit = pb.fit(events, study=study, progress=False)
    found = fit.parameters().set_index("name")["mean"]
    error = 1 / ITEMS**0.5  # of the mean of z; the sd of z is known half as well
    assert found["gamma"] == pytest.approx(SLOPE, abs=3 * SLOPE * error)
    assert found["intercept"] == pytest.approx(INTERCEPT, abs=3 * SLOPE * error)
    table = fit.popularity(interval=0.9).merge(truth, on="item")
    assert 0.85 <= table["z"].between(table["lower"], table["upper"]).mean() <= 0.95
    assert np.corrcoef(table["z"], table["mean"])[0, 1] > 0.9
    assert (table["prior_mean"] == 0).all()


def test_results_take_a_real_popularity(events, short_training):
    study = pb.Study(model={**NORMAL, "affinity": {"name": "embedding", "dim": 2}}, training={"epochs": 2})
    fit = pb.fit(events, study=study, guide="normal", progress=False)
    assert isinstance(fit.guide.popularity.posterior(torch.arange(2)), Normal)
    drawn = fit.to_arviz(draws=2000)["prior"]["popularity"].values
    assert abs(drawn.mean()) < 4 / drawn.size**0.5
    assert drawn.min() < -1
    for popularity in ("population", "posterior"):
        top = fit.recommend(k=3, popularity=popularity)
        assert (top["popularity_lower"] < top["score"]).all()
        assert (top["score"] < top["popularity_upper"]).all()


@pytest.mark.parametrize("model", ["product", "inverse-logistic"])
@pytest.mark.parametrize("guide", ["normal", "gamma"])
def test_positive_models_refuse_the_normal_prior(events, model, guide):
    positive = ", ".join(name for name, cls in pb.models.PRIORS.items() if cls.support is constraints.positive)
    message = rf"PB-C078: prior 'normal' lives on Real\(\), .* model '{model}' on .*; priors that fit: {positive}$"
    study = pb.Study(model={"name": model, "prior": {"name": "normal"}})
    with pytest.raises(IncompatibleError, match=message) as caught:
        pb.pair(events, study=study, guide=guide)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("guide", [name for name, cls in pb.GUIDES.items() if not cls.fits(constraints.real)])
def test_positive_guides_refuse_the_normal_prior(events, guide):
    with pytest.raises(
        IncompatibleError, match=rf"PB-C078: guide '{guide}' .* 'normal' .*; guides that fit: .*normal.*; or"
    ):
        pb.pair(events, study=pb.Study(model=NORMAL), guide=guide)


def test_the_normal_guide_refuses_positive_priors(events):
    message = r"PB-C078: guide 'normal' does not live on .*, as prior 'gamma' .*; guides that fit: .*gamma.*"
    with pytest.raises(IncompatibleError, match=message + "; or priors for this guide: normal$"):
        pb.pair(events, model="additive", guide="normal")
    with pytest.raises(IncompatibleError, match=message + "[^;]*$"):
        pb.pair(events, model="product", guide="normal")


def test_the_normal_prior_has_nothing_to_fix():
    with pytest.raises(ConfigError, match=r"PB-C083: \[model\] prior: this prior is Normal.* has no concentration"):
        pb.Study(model={"prior": {"name": "normal", "source": "fixed", "concentration": 1.0}})


def test_the_table_says_what_fits():
    table = pb.variants()
    normal = table[(table["prior"] == "normal") | (table["guide"] == "normal")]
    allowed = normal[normal["allowed"]]
    real = [name for name, cls in pb.GUIDES.items() if cls.fits(constraints.real)]
    assert allowed[["model", "prior", "guide"]].to_numpy().tolist() == [["additive", "normal", name] for name in real]
    kl = [pb.GUIDES[name].kl for name in real]
    assert allowed[["kl", "intervention", "reason"]].to_numpy().tolist() == [[each, "closed", ""] for each in kl]
    assert (normal[~normal["allowed"]]["kl"] == "refused").all()
    assert normal[~normal["allowed"]]["reason"].str.contains("lives on|does not").all()


@pytest.mark.parametrize(
    ("inner", "outer", "inside"),
    [
        (Gamma.support, constraints.positive, True),
        (LogNormal.support, constraints.real, True),
        (constraints.real, constraints.real, True),
        (Normal.support, constraints.positive, False),
        (constraints.greater_than(1.0), constraints.positive, False),
    ],
)
def test_supports(inner, outer, inside):
    assert lies_inside(inner, outer) is inside
    assert same_support(inner, inner)


def test_seeded_draws_of_normal_distributions():
    distribution = Normal(torch.tensor([-2.0, 3.0]).double(), torch.tensor([0.5, 2.0]).double())
    drawn = draw(distribution, draws=20_000, seed=1, keys=[4, 9])
    assert drawn.shape == (20_000, 2)
    np.testing.assert_array_less(
        np.abs(drawn.mean(0) - distribution.loc.numpy()), 4 * distribution.scale.numpy() / 20_000**0.5
    )
    np.testing.assert_allclose(drawn.std(0), distribution.scale.numpy(), rtol=4 / (2 * 20_000) ** 0.5)
    np.testing.assert_array_equal(
        drawn[:, 1:], draw(Normal(distribution.loc[1:], distribution.scale[1:]), draws=20_000, seed=1, keys=[9])
    )
