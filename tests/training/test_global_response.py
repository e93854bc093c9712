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
from pyro_popbias.training.curvature import NODES, CellNormals
from pyro_popbias.training.global_response import find_global_response
from pyro_popbias.training.loop import train
from pyro_popbias.training.second_phase import PhaseTwo

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


def term(made, log_rate, x, z):
    """Return log P(c=1) and log P(c=0)."""
    if made.study.model.name == "product":
        positive = logsigmoid(x) + torch.log(-torch.expm1(-log_rate.exp() * z))
        return positive, torch.log(-torch.expm1(positive))
    logit = x + log_rate.exp() * z if made.study.model.name == "additive" else x + z.log()
    return logsigmoid(logit), logsigmoid(-logit)


def evidence_of(made, numbers, names):
    """Return log P(labels | numbers) + log priors of the numbers, by an integral over log z of each item."""
    value = dict(zip(names, numbers, strict=True))
    events, none = made.events, torch.zeros((), dtype=torch.float64)
    beta = {side: torch.stack([value[f"beta_{side}[{k}]"] for k in range(4)]) for side in ("user", "item")}
    of = {side: torch.from_numpy(dense(getattr(events.catalogue, f"{side}_features"))) for side in beta}
    x = (
        value["affinity.intercept"]
        + (of["user"] @ beta["user"])[events.user]
        + (of["item"] @ beta["item"])[events.item]
    )
    log_rate = value.get("slope_parameter", value.get("log_parameter", none))
    a = value["prior.log_concentration"].exp() if "prior.log_concentration" in value else none + SHAPE
    u = torch.linspace(-9, 3, 200, dtype=torch.float64)
    density = Gamma(a, a).log_prob(u.exp()) + u + torch.log(u[1] - u[0])
    positive, negative = term(made, log_rate, x, u.exp().unsqueeze(1))
    label = torch.from_numpy(events.label.astype(bool))
    of_rows = torch.where(label, positive, negative)
    per_item = torch.zeros(len(u), len(events.items)).double().index_add(1, torch.from_numpy(events.item), of_rows)
    prior = Normal(0.0, INTERCEPT_SCALE).log_prob(value["affinity.intercept"])
    prior = prior + sum(Normal(0.0, 1.0).log_prob(each).sum() for each in beta.values())
    prior = prior + (Normal(0.0, 1.0).log_prob(log_rate) if log_rate is not none else 0.0)
    if "prior.log_concentration" in value:
        prior = prior + Normal(math.log(2.0), 1.0).log_prob(value["prior.log_concentration"])
    return torch.logsumexp(per_item + density.unsqueeze(1), 0).sum() + prior


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


@pytest.mark.parametrize("source", [{"source": "fixed", "concentration": SHAPE}, None], ids=["fixed", "learned"])
@pytest.mark.parametrize("model", TRUTH)
def test_it_is_the_inverse_information_of_the_evidence(model, source):
    more = {"saturation": {"name": "exponential", "rate": "learned"}} if model == "product" else {}
    made = pair_of(model, source=source, sizes=LARGER, **more)
    names = made.guide.shared.names
    hessian = torch.autograd.functional.hessian(lambda numbers: evidence_of(made, numbers, names), values_of(made))
    exact = torch.linalg.inv(-hessian)
    found = made.guide.shared.covariance
    sd = exact.diagonal().sqrt()
    # a LogNormal q is not the posterior; that its spread moves too halves or doubles variances of scales
    ratio = dict(zip(names, (found.diagonal().sqrt() / sd).tolist(), strict=True))
    assert ratio.pop("prior.log_concentration", 1.0) == pytest.approx(1.0, abs=0.3)
    assert list(ratio.values()) == pytest.approx([1.0] * len(ratio), abs=0.12)
    correlation = found / found.diagonal().sqrt().outer(found.diagonal().sqrt())
    torch.testing.assert_close(correlation, exact / sd.outer(sd), rtol=0.0, atol=0.15)


WAYS = {
    "additive": {"model": "additive"},
    "product": {"model": "product", "saturation": {"name": "exponential", "rate": "learned"}, "sizes": LARGER},
    "inverse-logistic": {"model": "inverse-logistic"},
    "normal": {"model": "additive", "prior": "normal", "guide": "normal", "source": {}},
    "user bias": {"model": "additive", "affinity": {"name": "linear", "user_bias": True}},
    "quality": {
        "model": "inverse-logistic",
        "affinity": {"name": "linear", "item_quality": True},
        "exposure": "poisson",
    },
    "periods": {"model": "inverse-logistic", "periods": 2},
}


def elbo_of(made, cells, x_of_rows):
    """Return the ELBO as a function of (shared numbers, m, t, users, items), by a Gauss-Hermite sum written out."""
    node, weight = (torch.from_numpy(each) for each in np.polynomial.hermite_e.hermegauss(NODES))
    weight, names, events = weight / weight.sum(), made.guide.shared.names, made.events
    affinity, number = made.model.affinity, len(cells.cell)
    place = cells.place[torch.from_numpy(events.cell)]
    start = values_of(made)

    def elbo(numbers):
        sizes = [len(names), number, number, len(events.users), len(events.items)]
        shared, m, t, users, items = numbers.split(sizes)
        value, none = dict(zip(names, shared, strict=True)), torch.zeros((), dtype=torch.float64)
        u = m + t.exp() * node.unsqueeze(1)
        real = made.study.model.prior.name == "normal"
        z = u if real else u.exp()
        x = x_of_rows + shared[names.index("affinity.intercept")] - start[names.index("affinity.intercept")]
        for side, code in (("user", events.user), ("item", events.item)):
            moved = torch.stack([value[f"beta_{side}[{k}]"] for k in range(4)])
            at = torch.stack([start[names.index(f"beta_{side}[{k}]")] for k in range(4)])
            x = x + (torch.from_numpy(dense(getattr(events.catalogue, f"{side}_features"))) @ (moved - at))[code]
        total = Normal(0.0, INTERCEPT_SCALE).log_prob(value["affinity.intercept"])
        total = total + sum(Normal(0.0, 1.0).log_prob(value[name]) for name in names if name.startswith("beta"))
        if affinity.user_bias is not None:
            x = x + users[events.user]
            total = total + Normal(0.0, affinity.user_bias.log_scale.detach().exp()).log_prob(users).sum()
        if affinity.item_quality is not None:
            x = x + items[events.item]
            total = total + Normal(0.0, affinity.item_quality.log_scale.detach().exp()).log_prob(items).sum()
        log_rate = value.get("slope_parameter", value.get("log_parameter", none))
        positive, negative = term(made, log_rate, x, z[:, place])
        label = torch.from_numpy(events.label.astype(bool))
        total = total + (weight @ torch.where(label, positive, negative)).sum() + t.sum()
        if real:
            density = Normal(0.0, 1.0).log_prob(z)
        else:
            a = value["prior.log_concentration"].exp()
            density = Gamma(a, a).log_prob(z) + u
            total = total + Normal(math.log(2.0), 1.0).log_prob(value["prior.log_concentration"])
        total = total + (weight @ density).sum()
        if log_rate is not none:
            total = total + Normal(0.0, 1.0).log_prob(log_rate)
        if made.model.exposure is not None:
            total = total + (weight @ made.model.exposure.log_likelihood(cells.cell, z)).sum()
        return total

    return elbo


@pytest.mark.parametrize("way", WAYS)
def test_it_is_that_of_the_dense_hessian(way):
    made = pair_of(**WAYS[way])
    cells = CellNormals(made)
    with local_parameters():
        assert cells.settle()
    weights, events = made.guide.weights(), made.events
    users, items = torch.zeros(len(events.users)).double(), torch.zeros(len(events.items)).double()
    user, item = torch.from_numpy(events.user), torch.from_numpy(events.item)
    x = made.model.affinity.pairs(user, item, None, weights).mean.detach()
    elbo = elbo_of(made, cells, x)
    at = torch.cat([values_of(made), cells.numbers[:, 0], cells.numbers[:, 1], users, items])
    slopes = torch.autograd.functional.jacobian(elbo, at)
    first = len(made.guide.shared.names)
    last = first + 2 * len(cells.cell)
    assert slopes[first:last].abs().max() < 0.01  # q's of cells are at their optimum
    hessian = torch.autograd.functional.hessian(elbo, at)
    exists = hessian.diagonal() < 0
    exact = torch.linalg.inv(-hessian[exists][:, exists])[:first, :first]
    found = made.guide.shared.covariance
    known = found.diagonal() > 0  # but for the weights of quality's features
    assert [name for name, each in zip(made.guide.shared.names, known, strict=True) if not each] == (
        ["quality_weights[0]"] if way == "quality" else []
    )
    sd = exact.diagonal().sqrt()
    torch.testing.assert_close(
        (found / sd.outer(sd))[known][:, known], (exact / sd.outer(sd))[known][:, known], rtol=0, atol=1e-4
    )


def fit_of(study, model="additive", **more):
    simulation = pb.simulate(model, "linear", **SIZES, **more)
    training = {"epochs": 2, "phase_two": 2, "validation": 0, "device": "cpu"}
    return pb.fit(simulation.events, study=study.replace("training", **training), progress=False)


@pytest.mark.parametrize(
    "declared",
    [
        {"name": "product", "affinity": {"name": "embedding", "dim": 2, "posterior": "point"}},
        {"name": "additive", "affinity": {"name": "factorization-machine", "dim": 2}},
        {"name": "product", "affinity": LINEAR, "latent": "interaction"},
        {"name": "inverse-logistic", "affinity": LINEAR, "conformity": True},
    ],
    ids=["points", "machine", "interaction", "conformity"],
)
@pytest.mark.filterwarnings("ignore:PB-C402", "ignore:PB-C461")
def test_elsewhere_only_estimates_are_known(declared):
    fit = fit_of(pb.Study(model={"exposure": "none", **declared}))
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


def test_weights_are_wider_where_items_move_along(fit):
    narrow, wide = fit.guide.affinity.weights(), fit.guide.weights()
    assert (wide["beta_item"].scale > 1.15 * narrow["beta_item"].scale).all()
    torch.testing.assert_close(wide["beta_item"].loc, narrow["beta_item"].loc)


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


def test_a_slope_that_has_gone_nowhere_is_left_out(monkeypatch):
    made = pair_of("additive")
    made.guide.shared.covariance.zero_()
    with monkeypatch.context() as patch, local_parameters():
        patch.setattr(CellNormals, "settle", lambda _: False)
        find_global_response(made)
    assert not made.guide.shared.covariance.any()
