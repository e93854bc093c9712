"""The quality of items, in every registered affinity that has one."""

import numpy as np
import pandas as pd
import pytest
import torch
from pyro import poutine

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import pair
from pyro_popbias.errors import ConfigError, DataWarning, IncompatibleError
from pyro_popbias.models import AFFINITIES
from pyro_popbias.models.affinities.item_quality import FEATURES, SITE
from pyro_popbias.training.quality_weights import regress_quality

WAYS = {
    "embedding": {
        "point": {"dim": 3, "posterior": "point"},
        "given scale": {"dim": 3, "scale": 0.7},
        "learned scale": {"dim": 3},
    },
    "factorization-machine": {"": {"dim": 3}},
}
WITH_QUALITY = {
    f"{name} {way}".strip(): {"name": name, **section}
    for name, cls in AFFINITIES.items()
    if "item_quality" in cls.config.model_fields
    for way, section in WAYS.get(name, {"": {}}).items()
}
DRAWS = 20_000
USERS, ITEMS, ROWS = 12, 9, 300


@pytest.fixture(scope="module")
def events():
    rng = np.random.default_rng(0)
    weight = np.arange(1, ITEMS + 1) ** 2.0
    codes = {"user": rng.integers(USERS, size=ROWS), "item": rng.choice(ITEMS, size=ROWS, p=weight / weight.sum())}
    frame = pd.DataFrame({name: [f"{name}{code}" for code in each] for name, each in codes.items()})
    frame["label"] = rng.integers(2, size=ROWS)
    ages = {
        f"{name}_features": pd.DataFrame(
            {"age": rng.normal(size=number)}, index=[f"{name}{code}" for code in range(number)]
        )
        for name, number in (("user", USERS), ("item", ITEMS))
    }
    return pb.Interactions.from_frame(frame, label="label", **ages)


def make(events, name, **model):
    study = pb.Study(
        model={"affinity": {**WITH_QUALITY[name], "item_quality": True}, "exposure": "poisson", **model},
        training={"validation": 0.0, "device": "cpu", "epochs": 2, "phase_two": 1},
    )
    made = pair(events, study=study)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.guide.affinity.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator).to(parameter))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_QUALITY)
def test_moments_are_those_of_draws(name, events):
    """The mean and variance of x of pairs and tables against draws of every site, quality and its weights among them."""
    made = make(events, name)
    affinity, weights = made.model.affinity, made.guide.weights()
    user, item = torch.arange(4), torch.tensor([0, 3, 8, 5])
    found = affinity.pairs(user, item, None, weights)
    alone = {site: torch.distributions.Normal(q.loc, torch.full_like(q.scale, 1e-12)) for site, q in weights.items()}
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        draws = torch.empty(DRAWS // 20, 4, dtype=torch.float64)
        for draw in draws:
            for site, q in weights.items():
                alone[site].loc = q.sample()
            draw.copy_(affinity.pairs(user, item, None, alone).mean)
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - found.mean).abs() < 4 * error).all()
    np.testing.assert_allclose(draws.var(0), found.variance.detach(), rtol=0.2)
    table = affinity.table(user, weights)
    torch.testing.assert_close(table.mean[range(4), item], found.mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(table.variance[range(4), item], found.variance, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", WITH_QUALITY)
def test_every_way_to_ask_for_x_agrees(name, events):
    made = make(events, name)
    affinity, weights = made.model.affinity, made.guide.weights()
    user, item = torch.arange(USERS), torch.tensor([[0, 8], [3, 1]]).repeat(USERS // 2, 1)
    with torch.no_grad():
        table, some = affinity.table(user, weights), affinity.among(user, item, weights)
        order = affinity.order(user, weights).double()
        least, most = affinity.variance_range(user, weights)
    torch.testing.assert_close(some.mean, table.mean.gather(1, item), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(some.variance, table.variance.gather(1, item), rtol=1e-5, atol=1e-5)
    apart = table.mean - order
    torch.testing.assert_close(apart, apart[:, :1].expand_as(apart), rtol=1e-5, atol=1e-5)
    assert (table.variance >= least.unsqueeze(1) - 1e-5).all()
    assert (table.variance <= most.unsqueeze(1) + 1e-5).all()


@pytest.mark.parametrize("name", WITH_QUALITY)
@pytest.mark.parametrize("popularity", ["population", "posterior", "none"])
def test_lists_are_those_of_the_scores(name, popularity, events, phase_two_as):
    study = pb.Study(
        model={"affinity": WITH_QUALITY[name], "exposure": "negative-binomial"},
        training={"validation": 0.0, "device": "cpu", "epochs": 3},
    )
    with phase_two_as(steps=3, cycle=2, most_cycles=1):
        fit = pb.fit(events, study=study, progress=False)
    assert fit.study.model.affinity.item_quality
    pairs = pd.MultiIndex.from_product([fit.catalogue.users, fit.catalogue.items], names=["user", "item"]).to_frame(
        index=False
    )
    scores = fit.predict(pairs, popularity=popularity).pivot(index="user", columns="item", values="score")
    lists = fit.recommend(k=3, popularity=popularity, exclude_seen=False)
    for user, part in lists.groupby("user"):
        best = scores.loc[user].nlargest(3)
        np.testing.assert_allclose(part["score"], best, rtol=1e-6)


def test_an_unseen_item_has_the_prior(events):
    made = make(events, "embedding learned scale")
    quality, weights = made.model.affinity.item_quality, made.guide.weights()
    mean, variance = quality.of_items(weights, torch.tensor([-1]))
    assert mean.item() == 0.0
    assert variance.item() == pytest.approx(quality.log_scale.exp().item() ** 2)


def test_features_carry_quality_to_items_without_rows(events):
    """What w . a says is all that is known of an item without rows; its interval has the scale and w's uncertainty."""
    made = make(events, "embedding learned scale")
    quality, weights = made.model.affinity.item_quality, made.guide.weights()
    assert quality.names == ("age", "log count")
    made.rows.item_count[2] = 0.0
    quality.log_count[2] = 0.0
    made.forget_untrained()
    mean, variance = quality.of_items(made.guide.weights(), torch.tensor([2]))
    age, q = events.item_features.value[2, 0], weights[FEATURES]
    assert mean.item() == pytest.approx(q.loc[0].item() * age, rel=1e-5)
    expected = quality.log_scale.exp().item() ** 2 + (q.scale[0].item() * age) ** 2
    assert variance.item() == pytest.approx(expected, rel=1e-5)
    other, _ = quality.of_items(made.guide.weights(), torch.tensor([3]))
    assert other.item() == weights[SITE].loc[3].item()


def test_weights_are_those_of_the_regression(events):
    made = make(events, "embedding learned scale")
    quality = made.model.affinity.item_quality
    with torch.no_grad():
        quality.log_scale_unconstrained.fill_(-0.5)
    regress_quality(made)
    design, b = quality.design().toarray(), made.guide.weights()[SITE].loc.squeeze(-1).detach().double().numpy()
    precision = design.T @ design + np.exp(-1.0) * np.eye(2)
    q = made.guide.weights()[FEATURES]
    np.testing.assert_allclose(q.loc.detach(), np.linalg.solve(precision, design.T @ b), rtol=1e-6)
    np.testing.assert_allclose(q.scale.detach(), np.sqrt(np.exp(-1.0) / precision.diagonal()), rtol=1e-6)


def test_draws_follow_their_mean(events):
    """The site of qualities is Normal around w . a, in the program too."""
    made = make(events, "embedding learned scale")
    batch = made.whole()
    with local_parameters():
        drawn = poutine.trace(made.guide).get_trace(batch)
        trace = poutine.trace(poutine.replay(made.model, trace=drawn)).get_trace(batch)
    weight = trace.nodes[FEATURES]["value"]
    prior = trace.nodes[SITE]["fn"].base_dist.loc.squeeze(-1).double()
    expected = torch.from_numpy(made.model.affinity.item_quality.design().toarray())[batch.items.code] @ weight
    torch.testing.assert_close(prior, expected, rtol=1e-5, atol=1e-6)


def test_counts_are_standardised(events):
    quality = make(events, "linear").model.affinity.item_quality
    assert quality.names == ("log count",)
    assert quality.log_count.mean().item() == pytest.approx(0.0, abs=1e-9)
    assert quality.log_count.var(correction=0).item() == pytest.approx(1.0)
    count = torch.tensor([0.0, 0.0, 4.0])
    quality.log_count.zero_()
    quality.rows, quality.log_count = 3, quality.log_count[:3]
    quality.take_counts(count)
    assert quality.log_count.tolist() == [0.0, 0.0, 0.0]  # one item alone has no spread


def defaults(events, **model):
    return pair(events, study=pb.Study(model=model, training={"validation": 0.0, "device": "cpu"})).study.model


def test_unequal_counts_bring_exposure_and_quality(events):
    found = defaults(events)
    assert found.exposure.name == "negative-binomial"
    assert found.affinity.item_quality


@pytest.mark.parametrize(
    "section",
    [
        {"affinity": {"name": "embedding", "item_quality": False}},
        {"latent": "interaction"},
        {"exposure": "none"},
    ],
)
def test_some_studies_have_neither(section, events):
    with pytest.warns(DataWarning, match="PB-C402: nothing tells the popularity of an item from its quality"):
        found = defaults(events, **section)
    assert found.exposure == "none"
    assert not found.affinity.item_quality


def test_items_shown_equally_often_have_neither():
    events = pb.simulate(users=50, items=20, interactions=2_000).events
    with pytest.warns(DataWarning, match="PB-C402"):
        assert defaults(events).exposure == "none"


def test_positives_have_neither_and_no_warning():
    events = pb.simulate(users=50, items=20, interactions=2_000, labels="positives", exposure=1.0).events
    found = defaults(events)
    assert found.exposure == "none"
    assert not found.affinity.item_quality


def test_quality_needs_what_identifies_it(events):
    affinity = {"name": "embedding", "item_quality": True}
    with pytest.raises(ConfigError, match="PB-C401: item_quality = true, but nothing tells an item's quality b_i"):
        defaults(events, affinity=affinity, exposure="none")
    counts = pd.DataFrame({"item": events.items, "count": np.arange(1, ITEMS + 1)})
    prior = {"name": "gamma", "source": "counts", "counts": counts}
    assert defaults(events, affinity=affinity, exposure="none", prior=prior).affinity.item_quality


def test_positives_and_single_rows_have_no_exposure(events):
    positives = pb.simulate(users=50, items=20, interactions=2_000, labels="positives").events
    with pytest.raises(IncompatibleError, match="PB-C400: exposure = 'poisson' reads how often items are logged"):
        defaults(positives, exposure="poisson")
    with pytest.raises(
        IncompatibleError, match="PB-C400: exposure = 'poisson' reads counts of an item's one popularity"
    ):
        defaults(events, exposure="poisson", latent="interaction")


def test_a_fit_without_quality_has_no_items():
    events = pb.simulate(users=50, items=20, interactions=2_000).events
    study = pb.Study(training={"epochs": 1, "phase_two": 1, "device": "cpu"})
    with pytest.raises(ConfigError, match="PB-C403: items have no quality in this fit"):
        pb.fit(events, study=study, progress=False).items()


@pytest.mark.nightly
@pytest.mark.slow
def test_new_items_are_scored_by_their_features():
    """Items without rows have the quality that their features say, with an interval that holds the truth nine times in ten."""
    rng = np.random.default_rng(0)
    items, new, users = 300, 200, 300
    age = rng.normal(size=items + new)
    quality = 1.2 * age + 0.5 * rng.normal(size=items + new)
    weight = rng.gamma(2.0, size=items)
    item, user = rng.choice(items, size=30_000, p=weight / weight.sum()), rng.integers(users, size=30_000)
    label = rng.random(30_000) < 1 / (1 + np.exp(-quality[item] - np.log(weight[item] / weight.mean())))
    frame = pd.DataFrame({"user": user.astype(str), "item": item.astype(str), "label": label.astype(int)})
    features = pd.DataFrame({"age": age}, index=np.arange(items + new).astype(str))
    events = pb.Interactions.from_frame(frame, label="label", item_features=features, new_items=True)
    assert len(events.items) == items + new
    affinity = {"name": "embedding", "dim": 2}
    study = pb.Study(
        model={"name": "inverse-logistic", "exposure": "poisson", "affinity": affinity},
        training={"epochs": 20, "device": "cpu", "phase_two": 12},
    )
    fit = pb.fit(events, study=study, progress=False)
    table = fit.items().set_index("item").loc[np.arange(items, items + new).astype(str)]
    truth = quality[items:]
    assert np.corrcoef(table["quality"], truth)[0, 1] > 0.85
    covered = np.mean((truth >= table["quality_lower"]) & (truth <= table["quality_upper"]))
    assert 0.85 <= covered <= 0.96
    listed = fit.recommend(users=["0"], k=events.cells, exclude_seen=False)
    assert listed["cold"].sum() == new
    cold = listed[listed["cold"]].set_index("item")
    assert (cold["score_lower"] < cold["score"]).all()
    assert (cold["score"] < cold["score_upper"]).all()
    assert cold["score"].corr(pd.Series(truth, index=table.index), method="spearman") > 0.8


@pytest.mark.slow
def test_a_point_guide_has_no_intervals_and_a_report(events, tmp_path, phase_two_as):
    study = pb.Study(
        model={"exposure": "negative-binomial", "affinity": {"name": "embedding", "dim": 2}},
        guide={"name": "point"},
        training={"epochs": 3, "device": "cpu"},
    )
    with phase_two_as(steps=3, cycle=2, most_cycles=1):
        fit = pb.fit(events, study=study, progress=False)
    table = fit.items()
    assert table["quality_share"].notna().all()
    assert table[["popularity_lower", "quality_share_lower", "quality_share_upper"]].isna().all(axis=None)
    fit.report(tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 0


def test_a_share_is_a_ratio_of_means_and_not_of_a_tail(events, phase_two_as):
    """E[1 / z] of a wide q is infinite, the ratio of means is not; items without rows have no clicks to share out."""
    features = pd.DataFrame({"age": 0.1}, index=[*events.items, "new"])
    frame = events.to_frame()
    grown = pb.Interactions.from_frame(frame, label="label", item_features=features, new_items=True)
    prior = {"name": "gamma", "source": "fixed", "concentration": 0.1}
    study = pb.Study(
        model={"exposure": "poisson", "prior": prior, "affinity": {"name": "embedding", "dim": 2}},
        training={"epochs": 3, "device": "cpu"},
    )
    with phase_two_as(steps=3, cycle=2, most_cycles=1):
        table = pb.fit(grown, study=study, progress=False).items().set_index("item")
    assert table.loc["new", ["quality_share", "quality_share_lower", "quality_share_upper"]].isna().all()
    assert (table["quality_share"].drop("new") < 100).all()


def test_one_item_has_no_correlation(phase_two_as):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"user": rng.integers(20, size=80), "item": "only", "label": rng.integers(2, size=80)})
    events = pb.Interactions.from_frame(frame, label="label")
    study = pb.Study(
        model={"exposure": "poisson", "affinity": {"name": "embedding", "dim": 2}},
        training={"epochs": 2, "device": "cpu"},
    )
    with phase_two_as(steps=3, cycle=2, most_cycles=1), pytest.warns(DataWarning, match="PB-D465: .*one item, 'only'"):
        parameters = pb.fit(events, study=study, progress=False).parameters().set_index("name")
    assert np.isnan(parameters.loc["quality_popularity_correlation", "mean"])


def test_models_of_pairs_refuse_counts_in_their_own_words(events):
    with pytest.raises(IncompatibleError, match=r"PB-C400: .* and with models of single rows"):
        defaults(events, name="pda", exposure="poisson")


def test_counts_of_other_rows_identify_quality(events):
    counts = pd.DataFrame({"item": events.items, "count": np.arange(1, ITEMS + 1)})
    prior = {"name": "lognormal", "source": "log-share", "counts": counts}
    affinity = {"name": "embedding", "item_quality": True}
    assert defaults(events, affinity=affinity, exposure={"name": "none"}, prior=prior).affinity.item_quality
