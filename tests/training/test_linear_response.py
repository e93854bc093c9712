"""The posterior of the intercept, against a dense matrix made by hand and against quadrature over everything."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import pyro_popbias as pb
from pyro_popbias.assembly.pair import pair
from pyro_popbias.distributions import quantile
from pyro_popbias.models.affinities.affinity import INTERCEPT_SCALE
from pyro_popbias.training.loop import train
from pyro_popbias.training.second_phase import PhaseTwo

USERS, ITEMS, ROWS, DIM = 12, 9, 200, 2
NEVER_SHOWN = "i-nothing"


@pytest.fixture
def brief(phase_two_as):
    """Make phase two take moments, in one test and not in those after it."""
    with phase_two_as(steps=5, cycle=3, most_cycles=2):
        yield


def small_frame(seed=0):
    rng = np.random.default_rng(seed)
    user, item = rng.integers(USERS, size=ROWS), rng.integers(ITEMS, size=ROWS)
    label = rng.random(ROWS) < 0.2 + 0.6 * item / ITEMS
    return pd.DataFrame({"user": user, "item": item, "label": label.astype(int), "time": rng.random(ROWS)}).astype(
        {"user": str, "item": str}
    )


def small_pair(*, model="product", guide="lognormal", prior="gamma", affinity=None, periods=1, exposure="none"):
    """A pair after a short training, which finds the response at its end."""
    frame = small_frame()
    if periods > 1:  # an item is in one period only: its other cells have no rows
        frame = frame[(frame["item"] != "3") | (frame["time"] < 0.45)]
    times = {"time": "time", "periods": periods} if periods > 1 else {}
    events = pb.Interactions.from_frame(frame, label="label", **times)
    study = pb.Study(
        model={
            "name": model,
            "prior": {"name": prior},
            "affinity": affinity or {"name": "embedding", "dim": DIM},
            "exposure": exposure,
        },
        guide={"name": guide},
        training={"validation": 0.0, "device": "cpu", "epochs": 20, "batch_size": 50},
    )
    made = pair(events, study=study)
    # q must have settled: with wider ones than rows allow, the matrix would not be positive
    train(made, phase_two=PhaseTwo(steps=20, cycle=4, epochs=8))
    return made


def dense_covariance(p):
    """Return the covariance of (b0, sizes of dimensions, cells, users, items), row by row, and where cells and users begin."""
    affinity, weights, cells = p.model.affinity, p.guide.weights(), p.events.cells
    q = p.guide.popularity.posterior(torch.arange(cells))
    learned = "user_vectors" in weights and affinity.learned
    dim, users = affinity.dim if learned else 0, len(p.events.users)
    has_bias, has_quality = affinity.user_bias is not None, affinity.item_quality is not None
    place_of_cells, place_of_users = 1 + dim, 1 + dim + cells
    place_of_items, end = place_of_users + users, place_of_users + users + len(p.events.items)
    precision = np.zeros((end, end))
    precision[0, 0] = INTERCEPT_SCALE**-2
    of_user, of_item, of_labels = np.zeros(users), np.zeros(len(p.events.items)), np.zeros(cells)
    popularity = q.mean.detach()
    for user, item, cell in zip(p.events.user, p.events.item, p.events.cell, strict=True):
        x = affinity.pairs(torch.tensor([user]).long(), torch.tensor([item]).long(), None, weights).mean.detach()
        found = p.model.information(None, x, popularity[[cell]])
        w, both = found.affinity.item(), found.both.item()
        moves = np.zeros(1 + dim)
        moves[0] = 1.0
        if learned:
            (u, u_sd), (i, i_sd) = (
                (each.loc[row].detach().double().numpy(), each.scale[row].detach().double().numpy())
                for each, row in ((weights["user_vectors"], user), (weights["item_vectors"], item))
            )
            moves[1:] = u * i
            spread = (u * i_sd) ** 2 + (u_sd * i) ** 2 + (u_sd * i_sd) ** 2
            precision[range(1, 1 + dim), range(1, 1 + dim)] += w * spread
        precision[: 1 + dim, : 1 + dim] += w * np.outer(moves, moves)
        rows = place_of_cells + cell, place_of_users + user, place_of_items + item
        forces = both, w if has_bias else 0.0, w if has_quality else 0.0
        for row, force in zip(rows, forces, strict=True):
            precision[row, : 1 + dim] += force * moves
            precision[: 1 + dim, row] += force * moves
        pairs = [(0, 1, both)] * has_bias + [(0, 2, both)] * has_quality + [(1, 2, w)] * (has_bias and has_quality)
        for one, other, force in pairs:
            precision[rows[one], rows[other]] += force
            precision[rows[other], rows[one]] += force
        of_user[user] += w
        of_item[item] += w
        of_labels[cell] += found.popularity.item()
    low, high = (quantile(q, tail).detach().numpy() for tail in (0.05, 0.95))
    real = p.model.latents["popularity"].support is torch.distributions.constraints.real
    width = high - low if real else np.log(high / low)
    if p.model.exposure is not None:
        of_labels += p.model.exposure.information(torch.arange(cells), q).detach().numpy()
    of_cell = np.maximum((2 * stats.norm.isf(0.05) / width) ** 2, of_labels)  # q is no wider than the data allow
    scale = affinity.user_bias.log_scale.exp().item() if has_bias else 1.0
    precision[range(place_of_cells, place_of_users), range(place_of_cells, place_of_users)] += of_cell
    precision[range(place_of_users, place_of_items), range(place_of_users, place_of_items)] += of_user + scale**-2
    scale = affinity.item_quality.log_scale.exp().item() if has_quality else 1.0
    precision[range(place_of_items, end), range(place_of_items, end)] += of_item + scale**-2
    return np.linalg.inv(precision), place_of_cells, place_of_users


WAYS = {
    "product": {},
    "additive": {"model": "additive", "guide": "normal", "prior": "normal"},
    "inverse-logistic": {"model": "inverse-logistic", "guide": "gamma"},
    "weibull": {"guide": "weibull"},
    "given scale": {"affinity": {"name": "embedding", "dim": DIM, "scale": 0.7}},
    "points": {"affinity": {"name": "embedding", "dim": DIM, "posterior": "point"}},
    "no bias": {"affinity": {"name": "embedding", "dim": DIM, "user_bias": False}},
    "periods": {"periods": 2},
    "quality": {"exposure": "negative-binomial"},
    "quality of points": {"exposure": "poisson", "affinity": {"name": "embedding", "dim": DIM, "posterior": "point"}},
    "quality in periods": {"exposure": "poisson", "periods": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_it_is_that_of_the_dense_matrix(way):
    p = small_pair(**WAYS[way])
    covariance, cells, users = dense_covariance(p)
    found = p.guide.intercept
    assert found.variance.item() == pytest.approx(covariance[0, 0], rel=1e-4)
    response = covariance[:, 0] / covariance[0, 0]
    # the largest is of the size of 1; conjugate gradients stop at 1e-6 of the force
    np.testing.assert_allclose(found.of_cell.numpy(), response[cells:users], rtol=1e-4, atol=1e-5)
    items = users + len(found.of_user)
    np.testing.assert_allclose(found.of_user.numpy(), response[users:items], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.of_item.numpy(), response[items:], rtol=1e-4, atol=1e-5)
    with_rows = p.rows.cell_count.numpy() > 0
    assert (found.of_cell.numpy()[with_rows] < 0).all()  # what is more popular needs a lower intercept


@pytest.mark.slow
def test_cells_without_rows_do_not_respond():
    p = small_pair(periods=2)
    none = p.rows.cell_count.numpy() == 0
    assert none.any()
    assert (p.guide.intercept.of_cell.numpy()[none] == 0).all()
    assert (p.guide.intercept.of_cell.numpy()[~none] != 0).all()


@pytest.mark.slow
def test_users_without_a_bias_do_not_respond():
    p = small_pair(**WAYS["no bias"])
    assert (p.guide.intercept.of_user == 0).all()
    assert p.guide.intercept.variance > 0


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("way", ["point guide", "popularity of every interaction"])
def test_nothing_is_found_where_there_is_nothing(way):
    model = {"affinity": {"name": "embedding", "dim": DIM}}
    if way != "point guide":
        model |= {"name": "additive", "latent": "interaction", "prior": {"name": "normal"}}
    guide = "point" if way == "point guide" else "normal"
    study = pb.Study(model=model, guide={"name": guide}, training={"epochs": 2, "device": "cpu"})
    events = pb.Interactions.from_frame(small_frame().drop(columns="time"), label="label")
    fit = pb.fit(events, study=study, progress=False)
    for value in (fit.guide.intercept.variance, fit.guide.intercept.of_cell, fit.guide.intercept.of_user):
        assert (value == 0).all()
    assert fit.parameters().set_index("name").loc["intercept", ["sd", "lower", "upper"]].isna().all()


CONCENTRATION = 2.0


def quadrature(sim, model, grid):
    """Return log p(b0 | labels) on a grid, and E[log z] of each item given b0, with vectors and prior known: `(n,)`, `(n, K)`."""
    log_z = np.linspace(-7, 3, 801)
    z = np.exp(log_z)
    prior = stats.gamma(CONCENTRATION, scale=1 / CONCENTRATION).logpdf(z) + log_z
    score, label = sim.frame["score"].to_numpy(), sim.frame["label"].to_numpy() == 1
    item = sim.events.item
    log_joint, means = stats.norm(0, INTERCEPT_SCALE).logpdf(grid), np.zeros((len(grid), sim.events.cells))
    for k in range(sim.events.cells):
        mine = item == k
        for n, b0 in enumerate(grid):
            x = score[mine] + b0
            if model == "product":
                probability = np.outer(-np.expm1(-z), 1 / (1 + np.exp(-x)))
            else:
                probability = z[:, None] / (z[:, None] + np.exp(-x))
            log_p = np.where(label[mine], np.log(probability), np.log1p(-probability)).sum(1) + prior
            top = log_p.max()
            mass = np.exp(log_p - top)
            log_joint[n] += top + np.log(mass.sum())
            means[n, k] = mass @ log_z / mass.sum()
    return log_joint, means


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("model", ["product", "inverse-logistic"])
@pytest.mark.parametrize("guide", ["lognormal", "gamma"])
def test_it_is_that_of_quadrature_with_known_affinities(model, guide):
    sim = pb.simulate(model=model, affinity="fixed", users=100, items=20, interactions=2_000, seed=0)
    study = pb.Study(
        model={
            "name": model,
            "affinity": {"name": "fixed", "score": "score"},
            "prior": {"name": "gamma", "source": "fixed", "concentration": CONCENTRATION},
        },
        guide={"name": guide},
        training={"validation": 0.0, "device": "cpu"},
    )
    fit = pb.fit(sim.events, study=study, progress=False)
    row = fit.parameters().set_index("name").loc["intercept"]
    grid = row["mean"] + row["sd"] * np.linspace(-6, 6, 41)
    log_joint, means = quadrature(sim, model, grid)
    mass = np.exp(log_joint - log_joint.max())
    mass /= mass.sum()
    assert mass[[0, -1]].max() < 1e-4  # the grid reaches as far as the posterior
    mean = mass @ grid
    sd = np.sqrt(mass @ (grid - mean) ** 2)
    assert row["sd"] == pytest.approx(sd, rel=0.15)
    assert abs(row["mean"] - mean) < 0.5 * sd
    # d E[log z] / d b0, by regression over the posterior
    response = ((mass * (grid - mean)) @ means) / sd**2
    found = fit.guide.intercept.of_cell.numpy()
    np.testing.assert_allclose(found, response, rtol=0.25, atol=0.05)
    # the interval of popularity that follows is that of the marginal posterior, and q's is too narrow
    within = fit.guide.popularity.posterior(torch.arange(20))
    table = fit.popularity()
    assert (table["sd"] > within.stddev.detach().numpy()).all()
