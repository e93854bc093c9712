"""The joint posterior of shared numbers: against a dense Hessian written out, against exact log evidence, and in tables."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Gamma, LogNormal, Normal
from torch.nn.functional import logsigmoid

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.models.affinities.affinity import INTERCEPT_SCALE
from pyro_popbias.prediction.global_posteriors import global_draws
from pyro_popbias.training import global_response
from pyro_popbias.training.chain_curvature import ChainPosteriors
from pyro_popbias.training.curvature import CellPosteriors
from pyro_popbias.training.global_response import Blocks, find_global_response
from pyro_popbias.training.loop import train
from pyro_popbias.training.second_phase import PhaseTwo
from pyro_popbias.training.vectors import affinities

pytestmark = pytest.mark.slow

SIZES = {"users": 30, "items": 12, "interactions": 900, "seed": 4}
LARGER = SIZES | {"items": 40, "interactions": 4_000}  # a maximum for certain after a short training, too
SHAPE = 2.0  # a of the population
TRUTH = {"additive": 0.8, "product": 1.0, "inverse-logistic": 1.0}
LINEAR = {"name": "linear", "user_bias": False}


def pair_of(model, *, prior="gamma", affinity=None, source=None, guide="lognormal", sizes=SIZES, periods=1, **more):
    """Return a pair after a short training."""
    simulation = pb.simulate(model, "linear", prior=prior, rate=TRUTH[model], periods=periods, **sizes)
    declared = {"name": prior} | ({"source": "learned"} if source is None else source)
    study = pb.Study(
        model={"name": model, "affinity": affinity or LINEAR, "prior": declared, "exposure": "none", **more},
        guide={"name": guide},
        training={"validation": 0.0, "device": "cpu", "epochs": 5, "batch_size": 300},
    )
    made = pb.pair(simulation.events, study=study)
    with local_parameters():
        train(made, phase_two=PhaseTwo(steps=20, cycle=4, epochs=8))
    return made


def term(made, log_rate, x, z, d=0.0):
    """Return log P(c=1) and log P(c=0); d is the conformity of each row's user, in the additive model."""
    if made.study.model.name == "product":
        positive = logsigmoid(x) + torch.log(-torch.expm1(-log_rate.exp() * z))
        return positive, torch.log(-torch.expm1(positive))
    logit = x + (log_rate.exp() + d) * z if made.study.model.name == "additive" else x + z.log()
    return logsigmoid(logit), logsigmoid(-logit)


def evidence_of(made, start):
    """Return log P(labels, counts) + log priors as a function of (shared numbers, users, items), z integrated out on a grid."""
    names, affinity, events = made.guide.shared.names, made.model.affinity, made.events
    none, real = torch.zeros((), dtype=torch.float64), made.study.model.prior.name == "normal"
    user, item, cell = (torch.from_numpy(getattr(events, name)).long() for name in ("user", "item", "cell"))
    x_of_rows = affinity.pairs(user, item, None, made.guide.weights()).mean.detach()
    u = torch.linspace(-9, 6 if real else 3, 300, dtype=torch.float64)
    z = u if real else u.exp()
    has_rows = made.rows.cell_count > 0
    label = torch.from_numpy(events.label.astype(bool))
    of_users = made.guide.weights().get("conformity")
    d = none if of_users is None else of_users.loc.detach().double()[user, 0]

    def evidence(numbers):
        shared, users, items = numbers.split([len(names), len(events.users), len(events.items)])
        value, moved = dict(zip(names, shared, strict=True)), dict(zip(names, shared - start, strict=True))
        x = x_of_rows + moved["affinity.intercept"]
        for side, code in (("user", user), ("item", item)):
            if f"beta_{side}[0]" not in moved:
                continue
            beta = torch.stack([moved[f"beta_{side}[{k}]"] for k in range(4)])
            x = x + (torch.from_numpy(dense(getattr(events.catalogue, f"{side}_features"))) @ beta)[code]
        total = Normal(0.0, INTERCEPT_SCALE).log_prob(value["affinity.intercept"])
        total = total + sum(Normal(0.0, 1.0).log_prob(each) for name, each in value.items() if "[" in name)
        if affinity.user_bias is not None:
            x = x + users[user]
            total = total + Normal(0.0, affinity.user_bias.log_scale.detach().exp()).log_prob(users).sum()
        if affinity.item_quality is not None:
            x = x + items[item]
            # the curvature is the same wherever the Normal stands
            of_counts = affinity.item_quality.log_count * moved["quality_weights[0]"]
            total = total + Normal(of_counts, affinity.item_quality.log_scale.detach().exp()).log_prob(items).sum()
        log_rate = value.get("slope_parameter", value.get("log_parameter", none))
        if log_rate is not none:
            total = total + Normal(0.0, 1.0).log_prob(log_rate)
        a = none + SHAPE
        if "prior.log_concentration" in value:
            a = value["prior.log_concentration"].exp()
            total = total + Normal(math.log(2.0), 1.0).log_prob(value["prior.log_concentration"])
        positive, negative = term(made, log_rate, x, z.unsqueeze(1), d)
        density = Normal(0.0, 1.0).log_prob(z) if real else Gamma(a, a).log_prob(z) + u
        of_cells = torch.zeros(len(u), events.cells).double().index_add(1, cell, torch.where(label, positive, negative))
        of_cells = of_cells + (density + torch.log(u[1] - u[0])).unsqueeze(1)
        if made.model.exposure is not None:
            every = torch.arange(events.cells)
            of_cells = of_cells + made.model.exposure.log_likelihood(every, z.unsqueeze(1).expand(-1, events.cells))
        return total + torch.logsumexp(of_cells, 0)[has_rows].sum()

    return evidence


def dense(features):
    found = np.zeros((len(features.index), len(features.names)))
    for row, (index, value) in enumerate(zip(features.index, features.value, strict=True)):
        np.add.at(found[row], index, value)
    return found


def values_of(made):
    """Return the shared numbers as they are."""
    learned = pb.models.scalars(made.model)
    weights = {f"{site}[{k}]": each for site, q in made.guide.weights().items() for k, each in enumerate(q.loc)}
    return torch.stack([{**learned, **weights}[name].detach().double() for name in made.guide.shared.names])


KNOWN = {"source": "fixed", "concentration": SHAPE}
LEARNED_RATE = {"model": "product", "saturation": {"name": "exponential", "rate": "learned"}, "sizes": LARGER}
WAYS = {
    "additive": {"model": "additive", "sizes": LARGER},
    "additive, known": {"model": "additive", "source": KNOWN},
    "product": LEARNED_RATE,
    "product, known": LEARNED_RATE | {"source": KNOWN, "guide": "gamma"},
    "inverse-logistic": {"model": "inverse-logistic"},
    "few rows": {"model": "inverse-logistic", "sizes": LARGER | {"items": 60, "interactions": 600}},
    "normal": {"model": "additive", "prior": "normal", "guide": "normal", "source": {}},
    "user bias": {"model": "additive", "source": KNOWN, "affinity": {"name": "linear", "user_bias": True}},
    "quality": {
        "model": "inverse-logistic",
        "affinity": {"name": "linear", "item_quality": True},
        "exposure": "poisson",
    },
    "conformity": {"model": "additive", "source": KNOWN, "conformity": True, "sizes": LARGER},
    "points": {
        "model": "product",
        "affinity": {"name": "embedding", "dim": 2, "posterior": "point", "user_bias": False},
        "sizes": LARGER,
    },
    "periods": {"model": "inverse-logistic", "periods": 2},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:PB-C402")
def test_it_is_the_inverse_information_of_the_evidence(way):
    made = pair_of(**WAYS[way])
    start, first = values_of(made), len(made.guide.shared.names)
    rows = torch.zeros(len(made.events.users) + len(made.events.items), dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(evidence_of(made, start), torch.cat([start, rows]))
    exists = hessian.diagonal() != 0
    known = exists[:first]  # but for the scale of conformity, which labels see through users alone
    exact = torch.linalg.inv(-hessian[exists][:, exists])[: known.sum(), : known.sum()]
    sd = exact.diagonal().sqrt()
    found = made.guide.shared.covariance[known][:, known] / sd.outer(sd)
    # slope and concentration of the additive model are on a ridge, which magnifies what quadratures leave
    torch.testing.assert_close(found, exact / sd.outer(sd), rtol=0.0, atol=0.06 if way == "additive" else 0.01)


def test_sizes_of_dimensions_move_x_and_its_variance():
    study = pb.Study(model={"affinity": {"name": "embedding", "dim": 2}}, training={"validation": 0.0, "device": "cpu"})
    made = pb.pair(pb.simulate(**SIZES).events, study=study)
    cells = CellPosteriors(made)
    blocks = Blocks(made, cells)
    first = 1 + blocks._weights
    before, expected = blocks._corner.diagonal()[first : first + 2].clone(), torch.zeros(2).double()
    for part in affinities(made):
        rows = cells.of_rows(part)
        mean, variance = blocks._vectors.products(part.batch)
        expected -= rows.second @ (mean.square() + variance)
        blocks.add_rows(part, rows)
    assert (expected > 0).all()
    torch.testing.assert_close(blocks._corner.diagonal()[first : first + 2] - before, expected)


def fit_of(study, model="additive", sizes=SIZES, **more):
    simulation = pb.simulate(model, "linear", **sizes, **more)
    training = {"epochs": 2, "phase_two": 2, "validation": 0, "device": "cpu"}
    return pb.fit(simulation.events, study=study.replace("training", **training), progress=False)


@pytest.mark.parametrize(
    "declared",
    [
        {"name": "product", "affinity": LINEAR, "latent": "interaction"},
        {"name": "pda", "affinity": LINEAR},
        {"name": "additive", "affinity": {"name": "linear", "item_quality": True}, "exposure": "poisson"},
    ],
    ids=["interaction", "pairs", "slope and quality"],
)
@pytest.mark.filterwarnings("ignore:PB-C402", "ignore:PB-C461")
def test_elsewhere_only_estimates_are_known(declared):
    fit = fit_of(pb.Study(model={"exposure": "none", **declared}), sizes=LARGER | {"items": 200})
    assert not fit.guide.shared.covariance.any()
    table = fit.parameters().set_index("name")
    assert (
        table.loc[table.index.isin(["concentration", "gamma", "rate"]), ["sd", "lower", "upper"]].isna().all(axis=None)
    )


def test_a_point_guide_has_none():
    fit = fit_of(pb.Study(model={"name": "product", "affinity": LINEAR, "exposure": "none"}, guide={"name": "point"}))
    assert not fit.guide.shared.covariance.any()


@pytest.fixture(scope="module")
def fit():
    declared = {"name": "additive", "affinity": LINEAR, "prior": {"name": "gamma"}, "exposure": "none"}
    return fit_of(pb.Study(model=declared))


def test_tables_have_its_intervals(fit):
    table = fit.parameters(interval=0.8).set_index("name")
    shared, estimates = fit.guide.shared, {name: each.detach() for name, each in fit.model.estimates().items()}
    z = Normal(0.0, 1.0).icdf(torch.tensor(0.9)).item()
    for name, parameter in (("gamma", "slope_parameter"), ("concentration", "prior.log_concentration")):
        sd, estimate = shared.variance(parameter) ** 0.5, float(estimates[name])
        assert table.loc[name, "mean"] == estimate
        assert table.loc[name, "sd"] == pytest.approx(LogNormal(math.log(estimate), sd).stddev.item(), rel=1e-6)
        expected = [estimate * math.exp(-z * sd), estimate * math.exp(z * sd)]
        assert table.loc[name, ["lower", "upper"]].tolist() == pytest.approx(expected, rel=1e-6)
    for name, parameter in (("intercept", "affinity.intercept"), ("beta_item[2]", "beta_item[2]")):
        sd = shared.variance(parameter) ** 0.5
        expected = [sd, table.loc[name, "mean"] - z * sd, table.loc[name, "mean"] + z * sd]
        assert table.loc[name, ["sd", "lower", "upper"]].tolist() == pytest.approx(expected, rel=1e-6)


def test_scores_and_checks_have_q_itself(fit):
    narrow, table = fit.guide.affinity.weights()["beta_item"], fit.parameters().set_index("name")
    wide = table.loc[[f"beta_item[{k}]" for k in range(4)], "sd"].to_numpy()
    assert (wide > 1.15 * narrow.scale.detach().numpy()).all()
    # marginal variances of weights say nothing of their sums: those of levels of a category are correlated
    torch.testing.assert_close(fit.guide.weights()["beta_item"].scale, narrow.scale)


def test_a_saved_fit_keeps_it(fit, tmp_path):
    fit.save(tmp_path / "run")
    loaded = pb.load(tmp_path / "run")
    pd.testing.assert_frame_equal(loaded.parameters(), fit.parameters())
    assert loaded.guide.shared.correlation("affinity.intercept", "slope_parameter") < -0.3


def test_a_free_slope_has_a_normal_interval():
    declared = {
        "name": "additive",
        "affinity": LINEAR,
        "prior": {"name": "normal"},
        "slope": "free",
        "exposure": "none",
    }
    study = pb.Study(model=declared, guide={"name": "normal"})
    table = fit_of(study, prior="normal").parameters().set_index("name").loc["gamma"]
    assert table["upper"] - table["mean"] == pytest.approx(table["mean"] - table["lower"])
    assert table["sd"] > 0


def test_nodes_that_find_no_place_say_nothing(monkeypatch):
    made = pair_of("additive")
    made.guide.shared.covariance.zero_()
    with monkeypatch.context() as patch, local_parameters():
        patch.setattr(CellPosteriors, "_round", lambda _: False)
        find_global_response(made)
    assert not made.guide.shared.covariance.any()


WALK = {"name": "lognormal", "drift": "random-walk"}


def walk_of(model="product", **more):
    """Return a pair whose popularity walks, after a short training."""
    simulation = pb.simulate(model, "linear", prior="lognormal", periods=3, drift=0.4, **LARGER)
    study = pb.Study(
        model={"name": model, "affinity": LINEAR, "prior": WALK, "exposure": "none", **more},
        guide={"name": "markov"},
        training={"validation": 0.0, "device": "cpu", "epochs": 5, "batch_size": 300},
    )
    made = pb.pair(simulation.events, study=study)
    with local_parameters():
        train(made, phase_two=PhaseTwo(steps=20, cycle=4, epochs=8))
    return made


@pytest.fixture(scope="module")
def walk():
    return walk_of()


def test_polynomials_of_a_walk_have_the_correlations_of_q(walk):
    cells = ChainPosteriors(walk)
    blocks = Blocks(walk, cells)
    number, draws = len(cells.cell), 4_000
    precision = blocks._meetings.toarray() + np.diag(blocks._diagonal.numpy())
    torch.manual_seed(0)
    with torch.no_grad():
        y = walk.guide.popularity.chain(cells.cell).sample((draws,)).log().double().numpy()
    unit = (y - y.mean(0)) / y.std(0)
    for degree, polynomial in enumerate((lambda u: u, lambda u: (u**2 - 1) / math.sqrt(2))):
        part = slice(degree * number, (degree + 1) * number)
        covariance = np.linalg.inv(precision[part, part])
        np.testing.assert_allclose(covariance.diagonal(), 1.0, rtol=1e-6)
        values = polynomial(unit)
        found = (values.T @ values) / draws
        same_item = np.subtract.outer(cells.cell.numpy() // 3, cells.cell.numpy() // 3) == 0
        assert np.abs(covariance - found)[same_item].max() < 12 / math.sqrt(draws)
        assert not covariance[~same_item].any()


def test_a_walk_has_intervals_that_know_of_its_neighbours(walk, monkeypatch):
    table = {name: walk.guide.shared.variance(name) for name in ("affinity.intercept", "prior.first.log_concentration")}
    assert all(table.values())
    assert not walk.guide.shared.variance("prior.log_step")
    none = CellPosteriors.neighbours
    with monkeypatch.context() as patch, local_parameters():
        patch.setattr(ChainPosteriors, "neighbours", none)
        find_global_response(walk)
    apart = walk.guide.shared.variance("affinity.intercept")
    with local_parameters():
        find_global_response(walk)
    # periods that move together leave less to be known of the level of them all
    assert apart < 0.98 * table["affinity.intercept"]


def test_without_a_maximum_a_walk_has_the_posterior_of_its_population_alone(walk, monkeypatch):
    shared, whole = walk.guide.shared, global_response.corner_covariance
    joint, tried = shared.covariance.clone(), []

    def only_the_second(information):
        tried.append(information.corner)
        return whole(information) if len(tried) == 2 else (None, None)

    shared.covariance.zero_()
    with monkeypatch.context() as patch, local_parameters():
        patch.setattr(global_response, "corner_covariance", only_the_second)
        find_global_response(walk)
    place = shared.names.index("prior.first.log_concentration")
    assert shared.covariance.nonzero().tolist() == [[place, place]]
    # all else known, there is less that it could be
    assert shared.covariance[place, place] < joint[place, place]
    intercept = np.linspace(-2.0, 2.0, 1_000)
    draws = global_draws(walk.model, walk.guide, walk.events.catalogue, intercept, seed=0)
    log_draws = np.log(draws["concentration"])
    assert log_draws.std() == pytest.approx(shared.variance("prior.first.log_concentration") ** 0.5, rel=0.1)
    assert abs(np.corrcoef(log_draws, intercept)[0, 1]) < 0.1
    shared.covariance.copy_(joint)


def test_with_many_rows_some_items_stand_for_all(monkeypatch):
    made = pair_of("product", source={"source": "learned"}, sizes=LARGER | {"items": 80})
    names = ("affinity.intercept", "prior.log_concentration")
    whole = np.array([made.guide.shared.variance(name) for name in names])
    with monkeypatch.context() as patch, local_parameters():
        patch.setattr(global_response, "MOST_ROWS", 2_000)
        find_global_response(made)
    of_some = np.array([made.guide.shared.variance(name) for name in names])
    assert (of_some != whole).all()
    np.testing.assert_allclose(of_some, whole, rtol=0.5)
