"""The bias of users, in every registered affinity that learns one."""

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from pyro import poutine

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import pair
from pyro_popbias.errors import ConfigError
from pyro_popbias.models import AFFINITIES, AffinityDistribution
from pyro_popbias.models.affinities.user_bias import SITE

WAYS = {
    "embedding": {
        "point": {"dim": 3, "posterior": "point"},
        "given scale": {"dim": 3, "scale": 0.7},
        "learned scale": {"dim": 3},
    },
    "factorization-machine": {"": {"dim": 3}},
}
LEARNED = {
    f"{name} {way}".strip(): {"name": name, **section}
    for name, cls in AFFINITIES.items()
    if "user_bias" in cls.config.model_fields
    for way, section in WAYS.get(name, {"": {}}).items()
}
DRAWS = 20_000
SCALE = 1.3
UNSEEN = torch.tensor([-1])


@pytest.fixture
def brief(phase_two_as):
    """Make phase two take moments, in one test and not in those after it."""
    with phase_two_as(steps=5, cycle=3, most_cycles=2):
        yield


@pytest.fixture(scope="module")
def events():
    rng = np.random.default_rng(0)
    users, items, rows = 12, 9, 300
    codes = {"user": rng.integers(users, size=rows), "item": rng.integers(items, size=rows)}
    frame = pd.DataFrame({name: [f"{name}{code}" for code in each] for name, each in codes.items()})
    frame["label"] = rng.integers(2, size=rows)
    ages = {
        f"{name}_features": pd.DataFrame(
            {"age": rng.normal(size=number)}, index=[f"{name}{code}" for code in range(number)]
        )
        for name, number in (("user", users), ("item", items))
    }
    return pb.Interactions.from_frame(frame, label="label", **ages)


def make(events, name, **section):
    study = pb.Study(model={"affinity": {**LEARNED[name], **section}}, training={"validation": 0.0, "device": "cpu"})
    return pair(events, study=study)


def moved(made):
    """Move q and the parameters away from their start, so that nothing is right because it is 0."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in (made.guide.affinity, made.model.affinity):
            for parameter in part.parameters():
                parameter += 0.4 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        made.model.affinity.user_bias.log_scale_unconstrained.fill_(np.log(SCALE))
    return made


def latent_sites(made):
    with local_parameters():
        guide = poutine.trace(made.guide).get_trace(made.whole())
        model = poutine.trace(poutine.replay(made.model, trace=guide)).get_trace(made.whole())
    return {name for name in guide.stochastic_nodes if not name.endswith("_plate")}, set(model.stochastic_nodes)


def test_every_learned_affinity_is_here():
    assert {each["name"] for each in LEARNED.values()} == set(AFFINITIES) - {"fixed"}


@pytest.mark.parametrize("name", LEARNED)
def test_the_site_is_there_by_default(events, name):
    made = make(events, name)
    guide, model = latent_sites(made)
    assert SITE in guide
    assert SITE in model
    assert made.guide.weights()[SITE].loc.shape == (12, 1)
    assert "user_bias_scale" in made.model.estimates()


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.usefixtures("brief")
def test_the_site_is_not_there_where_it_is_refused(events, name):
    made = make(events, name, user_bias=False)
    guide, model = latent_sites(made)
    assert SITE not in guide | model
    assert "user_bias_scale" not in made.model.estimates()
    fit = pb.fit(events, study=made.study.replace("training", epochs=1), progress=False)
    with pytest.raises(ConfigError, match=r"PB-C310: users have no bias .*; declare user_bias = true"):
        fit.users()


@pytest.mark.parametrize("name", LEARNED)
def test_an_unseen_user_has_the_prior(events, name):
    made = moved(make(events, name))
    affinity, weights = made.model.affinity, made.guide.weights()
    alone = AffinityDistribution(torch.zeros(2).double())
    found = affinity.with_biases(alone, torch.tensor([-1, 4]), weights)
    torch.testing.assert_close(found.mean, torch.tensor([0.0, weights[SITE].loc[4].item()]).double())
    expected = torch.tensor([SCALE, weights[SITE].scale[4].item()]).double().square()
    torch.testing.assert_close(found.variance, expected)
    # and nothing else of an unseen user with an unseen item, but for vectors with a prior
    whole = affinity.relative(UNSEEN, UNSEEN, None, weights)
    assert whole.mean.item() == 0.0
    vectors = 0.0
    if affinity.is_bayesian and "user_vectors" in weights:
        vectors = (4 * affinity.log_scale("user_vectors").detach()).exp().sum().item()
    assert whole.variance.item() == pytest.approx(SCALE**2 + vectors)


@pytest.mark.parametrize("name", LEARNED)
def test_table_and_pairs_agree(events, name):
    made = moved(make(events, name))
    affinity, weights = made.model.affinity, made.guide.weights()
    with torch.no_grad():
        table = affinity.table(torch.arange(12), weights)
        user, item = torch.cartesian_prod(torch.arange(12), torch.arange(9)).unbind(-1)
        pairs = affinity.pairs(user, item, None, weights)
    torch.testing.assert_close(table.mean.reshape(-1), pairs.mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(table.variance.reshape(-1), pairs.variance, rtol=1e-5, atol=1e-6)
    # two users differ by their biases' variances, and not by nothing
    assert pairs.variance.unique().numel() > 1


@pytest.mark.parametrize("name", LEARNED)
def test_draws_of_the_program_have_the_moments(events, name):
    made = moved(make(events, name))
    batch = made.rows.batch(torch.arange(20))
    with local_parameters(), torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        distribution = made.model.affinity.relative(batch.user, batch.item, None, made.guide.weights())
        with pyro.plate("draws", DRAWS, dim=-2):
            trace = poutine.trace(made.guide.affinity).get_trace(batch)
            draws = poutine.replay(made.model.affinity, trace=trace)(batch) - made.model.affinity.intercept
    assert draws.shape == (DRAWS, 20)
    off = draws - draws.mean(0)
    variance = off.square().mean(0)
    error = (variance / DRAWS).sqrt()
    assert (abs(draws.mean(0) - distribution.mean) < 4 * error).all()
    error = ((off**4).mean(0) - variance.square()).div(DRAWS).sqrt()
    assert (abs(variance - distribution.variance) < 4 * error).all()


@pytest.mark.parametrize("name", LEARNED)
def test_users_are_a_table_of_it(events, name, brief):
    fit = pb.fit(events, study=make(events, name).study.replace("training", epochs=2), progress=False)
    table = fit.users(interval=0.5)
    assert tuple(table.columns) == ("user", "mean", "sd", "lower", "upper", "count", "positives")
    assert list(table["user"]) == list(events.users)
    q = fit.guide.weights()[SITE]
    intercept = fit.guide.intercept
    np.testing.assert_allclose(table["mean"], q.loc.detach().squeeze(-1), rtol=1e-6)
    moved_by = intercept.variance * intercept.of_user.square()
    variance = q.scale.detach().squeeze(-1).double().square() + moved_by
    np.testing.assert_allclose(table["sd"], variance.sqrt(), rtol=1e-6)
    half = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(0.75)).item() * table["sd"]
    np.testing.assert_allclose(table["upper"] - table["mean"], half, rtol=1e-5)
    np.testing.assert_allclose(table["mean"] - table["lower"], half, rtol=1e-5)
    rows = pd.Series(events.user).value_counts().sort_index()
    assert table["count"].tolist() == rows.tolist()


PROBABILITY = {
    "additive": lambda x, z: 1 / (1 + np.exp(-x - z)),
    "product": lambda x, z: (1 - np.exp(-z)) / (1 + np.exp(-x)),
}


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("model", PROBABILITY)
def test_known_biases_are_found(model):
    users, items, rows = 300, 100, 30_000
    rng = np.random.default_rng(1)
    bias, user, item = rng.normal(size=users), rng.integers(users, size=rows), rng.integers(items, size=rows)
    z = rng.normal(size=items) if model == "additive" else rng.gamma(2.0, 0.5, size=items)
    label = rng.random(rows) < PROBABILITY[model](bias[user] + 0.5, z[item])
    frame = pd.DataFrame({"user": user, "item": item, "label": label.astype(int)})
    family = "normal" if model == "additive" else "lognormal"
    study = pb.Study(
        model={"name": model, "affinity": {"name": "embedding", "dim": 2}, "prior": {"name": family}},
        guide={"name": family},
        # along the ridge of intercept, popularity and the scale of biases training takes its time
        training={"device": "cpu", "epochs": 160, "validation": 0.0},
    )
    fit = pb.fit(pb.Interactions.from_frame(frame, label="label"), study=study, progress=False)
    table = fit.users(interval=0.9)
    truth = bias[table["user"].astype(int)]
    assert np.corrcoef(table["mean"], truth)[0, 1] > 0.9
    scale = fit.parameters().set_index("name").loc["user_bias_scale", "mean"]
    assert abs(np.log(scale / truth.std())) < np.log(1.2)
    covered = ((table["lower"] < truth) & (truth < table["upper"])).mean()
    assert 0.8 < covered < 0.97


@pytest.mark.parametrize("name", ["embedding", "factorization-machine"])
@pytest.mark.parametrize("declared", [None, True, False])
def test_drawn_negatives_leave_no_bias_to_learn(name, declared):
    """With as many negatives per positive every user says yes equally often, unless the study wants a bias."""
    frame = pb.simulate(users=20, items=15, interactions=300, seed=0).frame
    affinity = {"name": name} if declared is None else {"name": name, "user_bias": declared}
    study = pb.Study(model={"affinity": affinity})
    positives = pb.Interactions.from_frame(frame.query("label == 1").drop(columns="label"))
    made = pb.pair(positives, study=study)
    assert (made.model.affinity.user_bias is not None) == (declared is True)
    assert made.study.model.affinity.user_bias == (declared is True)
    labelled = pb.pair(pb.Interactions.from_frame(frame, label="label"), study=study)
    assert (labelled.model.affinity.user_bias is not None) == (declared is not False)
