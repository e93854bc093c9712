"""How scales of vectors are learned and dimensions dropped, against plain loops and what must stay the same."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Normal, kl_divergence

import pyro_popbias as pb
from pyro_popbias.assembly.pair import pair
from pyro_popbias.models.affinities.affinity import INTERCEPT_SCALE
from pyro_popbias.models.affinities.bayesian_embedding import SCALE_CENTRE
from pyro_popbias.models.affinities.user_bias import SITE as USER_BIAS
from pyro_popbias.training import loop, vector_scales
from pyro_popbias.training.gain import expected_log_likelihood, gains, held_out_gains, kl
from pyro_popbias.training.second_phase import PhaseTwo
from pyro_popbias.training.vector_scales import VectorScales, curved, rescaled, step_of_sizes, turned
from pyro_popbias.training.vectors import Table, Vectors, affinities

pytestmark = pytest.mark.slow

USERS, ITEMS, ROWS, DIM = 30, 20, 600, 3
MODELS = ("product", "additive", "inverse-logistic")
SHORT = PhaseTwo(steps=2, cycle=2, epochs=4)
SINGLE = 1e-5  # vectors are kept in float32


@pytest.fixture
def brief(phase_two_as):
    """Make phase two take moments, in one test and not in those after it."""
    with phase_two_as(steps=5, cycle=3, most_cycles=2):
        yield


@pytest.fixture(scope="module")
def simulated():
    return {
        name: pb.simulate(model=name, users=USERS, items=ITEMS, interactions=ROWS, dim=DIM, seed=0) for name in MODELS
    }


@pytest.fixture(params=MODELS)
def made(request, simulated):
    """A pair whose vectors are away from 0, with rows of different variances."""
    study = pb.Study(
        model={"name": request.param, "affinity": {"name": "embedding", "dim": DIM}},
        training={"validation": 0.0, "device": "cpu"},
    )
    p = pair(simulated[request.param].events, study=study)
    random_vectors().write(p)
    with torch.no_grad():
        p.model.affinity.intercept_unconstrained.fill_(0.3)
    return p


def random_table(generator, rows, dim):
    mean = 0.8 * torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    return Table(mean, 0.02 + 0.3 * torch.rand(rows, dim, generator=generator, dtype=torch.float64))


def random_vectors(users=USERS, items=ITEMS, dim=DIM, seed=0):
    generator = torch.Generator().manual_seed(seed)
    user, item, bias = (random_table(generator, *size) for size in ((users, dim), (items, dim), (users, 1)))
    scale = 0.5 + torch.rand(dim, generator=generator, dtype=torch.float64)
    return Vectors(user, item, scale, {USER_BIAS: bias}, {USER_BIAS: torch.ones(1, dtype=torch.float64)})


def rows_of(p):
    """Yield user, item, label, mean and variance of x, and mean popularity of every row, as plain numbers."""
    vectors, intercept = Vectors.of(p), p.model.affinity.intercept.item()
    events, popularity = p.events, p.guide.popularity.posterior(torch.arange(p.events.cells)).mean
    for user, item, label in zip(events.user, events.item, events.label, strict=True):
        u, i, w = vectors.user, vectors.item, vectors.biases[USER_BIAS]
        mean, variance = intercept + w.mean[user, 0].item(), w.variance[user, 0].item()
        for k in range(len(vectors.scale)):
            m, n, v, s = (
                part[row, k].item()
                for part, row in ((u.mean, user), (i.mean, item), (u.variance, user), (i.variance, item))
            )
            mean, variance = mean + m * n, variance + m * m * s + n * n * v + v * s
        yield int(user), int(item), float(label), mean, variance, popularity[item].item()


def row_information(p, mean, z):
    x = torch.tensor([mean], dtype=torch.float64)
    return p.model.information(None, x, torch.tensor([z], dtype=torch.float64)).affinity.item()


@pytest.mark.parametrize(("users", "items", "dim"), [(30, 20, 3), (20, 30, 1), (12, 30, 16), (30, 12, 16), (8, 12, 16)])
def test_turned_vectors_have_the_same_products(users, items, dim):
    before = random_vectors(users, items, dim)
    after = turned(before)
    product = after.user.mean @ after.item.mean.T
    torch.testing.assert_close(product, before.user.mean @ before.item.mean.T, rtol=0, atol=1e-10)
    size = after.user.mean.square().mean(0)
    # orthogonal columns, the largest first, of equal size in both tables
    for table in (after.user, after.item):
        gram = table.mean.T @ table.mean / len(table.mean)
        torch.testing.assert_close(gram, torch.diag(size), rtol=0, atol=1e-10)
    assert (size.diff() <= 1e-12).all()
    assert after.user.mean.shape[1] == after.item.mean.shape[1] == len(after.scale) <= dim
    assert after.user.variance.shape == after.user.mean.shape
    assert (after.user.variance > 0).all()
    assert after.biases is before.biases


def test_mackay_has_the_fixed_point_of_the_m_step():
    """With given information L and force h of each row: v = 1 / (L + 1/s^2), m = v h."""
    generator = torch.Generator().manual_seed(0)
    information, force = {}, {}
    for side, rows in (("user", 40), ("item", 25), ("bias", 40)):
        width = 1 if side == "bias" else 2
        signal = torch.tensor([0.9, 0.5][:width]) * torch.randn(rows, width, generator=generator, dtype=torch.float64)
        information[side] = 1 + 20 * torch.rand(rows, width, generator=generator, dtype=torch.float64)
        noise = torch.randn(rows, width, generator=generator, dtype=torch.float64)
        force[side] = information[side] * signal + information[side].sqrt() * noise

    def table(side, scale):
        variance = 1 / (information[side] + scale**-2)
        return Table(variance * force[side], variance)

    def vectors(scale, bias_scale):
        biases, bias_scales = {USER_BIAS: table("bias", bias_scale)}, {USER_BIAS: bias_scale}
        return Vectors(table("user", scale), table("item", scale), scale, biases, bias_scales)

    def m_step(each):
        def of(scale, centre, *tables):
            squares = torch.cat([part.mean.square() + part.variance for part in tables])
            return (squares.sum(0) / (len(squares) + (scale / centre).log())).sqrt()

        return of(each.scale, SCALE_CENTRE, each.user, each.item), of(
            each.bias_scales[USER_BIAS], 1.0, each.biases[USER_BIAS]
        )

    def mackay(each):
        found = rescaled(each)
        return found.scale, found.bias_scales[USER_BIAS]

    ends, rounds = {}, {}
    for step in (m_step, mackay):
        scale, bias_scale, number = torch.full((2,), 0.3).double(), torch.full((1,), 3.0).double(), 0
        while number < 2000:
            number += 1
            before = torch.cat([scale, bias_scale])
            scale, bias_scale = step(vectors(scale, bias_scale))
            if (torch.cat([scale, bias_scale]) / before - 1).abs().max() < 1e-12:
                break
        ends[step.__name__], rounds[step.__name__] = torch.cat([scale, bias_scale]), number
    torch.testing.assert_close(ends["mackay"], ends["m_step"], rtol=1e-9, atol=0)
    assert rounds["mackay"] < rounds["m_step"] < 2000


def test_scales_move_by_a_factor_of_two_at_most():
    vectors = random_vectors()
    for factor in (0.01, 100.0):
        given = replace(vectors, scale=factor * vectors.scale)
        ratio = rescaled(given).scale / given.scale
        assert ((ratio > 0.5 - 1e-9) & (ratio < 2 + 1e-9)).all()


def test_kl_is_that_of_torch():
    vectors = random_vectors()
    expected = sum(
        kl_divergence(Normal(table.mean, table.variance.sqrt()), Normal(0.0, vectors.scale)).sum(0)
        for table in (vectors.user, vectors.item)
    )
    torch.testing.assert_close(kl(vectors), expected)


def test_gains_are_those_of_brute_force(made):
    """A dimension adds what the expected log-likelihood loses without it."""
    nodes, shares = np.polynomial.hermite_e.hermegauss(5)
    vectors = Vectors.of(made)

    def expected(p):
        total = 0.0
        for _, _, label, mean, variance, z in rows_of(p):
            x = torch.from_numpy(mean + nodes * variance**0.5)
            log_p = p.model.likelihood(x, torch.tensor(z).double()).log_prob(torch.tensor(label).double())
            total += float(log_p.detach().numpy() @ shares) / shares.sum()
        return total

    worth, cost = gains(made)
    whole, without = expected(made), []
    for k in range(DIM):
        less = copy.deepcopy(made)
        vectors.kept(torch.arange(DIM) != k).write(less)
        without.append(whole - expected(less))
    np.testing.assert_allclose(worth.detach(), without, rtol=1e-4, atol=ROWS * 1e-6)
    torch.testing.assert_close(cost, kl(vectors))


def test_held_out_gains_are_those_of_brute_force(made):
    """In standard errors of a sum over rows; the model's probabilities are averaged over x, not their logarithms."""
    nodes, shares = np.polynomial.hermite_e.hermegauss(5)

    def log_score(p):
        found = []
        for _, _, label, mean, variance, z in rows_of(p):
            x = torch.from_numpy(mean + nodes * variance**0.5)
            log_p = p.model.likelihood(x, torch.tensor(z).double()).log_prob(torch.tensor(label).double())
            found.append(np.log(np.exp(log_p.detach().numpy()) @ shares / shares.sum()))
        return np.array(found)

    whole, expected = log_score(made), []
    for k in range(DIM):
        less = copy.deepcopy(made)
        Vectors.of(made).kept(torch.arange(DIM) != k).write(less)
        gain = whole - log_score(less)
        expected.append(gain.sum() / (gain.std(ddof=1) * len(gain) ** 0.5))
    found = held_out_gains(replace(made, held_out=made.rows))
    np.testing.assert_allclose(found.detach(), expected, rtol=3e-4, atol=3e-4)


@pytest.mark.parametrize("rows", [0, 1])
def test_without_two_held_out_rows_no_dimension_predicts(simulated, rows):
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": DIM}}, training={"validation": rows / ROWS, "device": "cpu"}
    )
    made = pair(simulated["product"].events, study=study)
    random_vectors().write(made)
    assert len(made.held_out or ()) == rows
    assert held_out_gains(made).isnan().all()


@pytest.mark.parametrize("part", ["nothing", "the training rows", "the held-out rows"])
def test_a_dimension_stays_for_either_kind_of_rows(part, made, monkeypatch):
    worth = torch.full((DIM,), 0.7 if part == "the training rows" else 0.6)
    predicts = torch.full((DIM,), 3.0 if part == "the held-out rows" else 2.9)
    monkeypatch.setattr(vector_scales, "gains", lambda _: (worth, torch.ones(DIM)))
    monkeypatch.setattr(vector_scales, "held_out_gains", lambda _: predicts)
    VectorScales(made).update(round(vector_scales.HELD * made.study.training.epochs))
    assert len(Vectors.of(made).scale) == (0 if part == "nothing" else DIM)


def test_gains_of_some_rows_stand_for_all(made, monkeypatch):
    whole = gains(made)[0]
    monkeypatch.setattr("pyro_popbias.training.gain.SAMPLE", ROWS // 2)
    half = gains(made)[0]
    first = sum(expected_log_likelihood(made, part, part.mean, part.sd) for part in affinities(made, rows=ROWS // 2))
    everything = sum(expected_log_likelihood(made, part, part.mean, part.sd) for part in affinities(made))
    assert everything < first < 0  # half of the rows, and not all
    assert not torch.equal(whole, half)
    # a sum over N rows from half of them has a standard error of N sd / sqrt(N/2) sqrt(1/2)
    mean, variance = Vectors.of(made).products(made.whole())
    largest = (mean.abs() + variance.sqrt()).std(0) * ROWS**0.5
    assert ((half - whole).abs() < 4 * largest).all()


def test_curvature_is_that_of_a_loop_over_rows(made):
    vectors = Vectors.of(made)
    for linear_response in (False, True):
        user, item, bias = np.zeros((USERS, DIM)), np.zeros((ITEMS, DIM)), np.zeros(USERS)
        for u, i, _, mean, _, z in rows_of(made):
            w = row_information(made, mean, z)
            for k in range(DIM):
                of_item, of_user = vectors.item.mean[i, k].item() ** 2, vectors.user.mean[u, k].item() ** 2
                if not linear_response:
                    of_item += vectors.item.variance[i, k].item()
                    of_user += vectors.user.variance[u, k].item()
                user[u, k] += w * of_item
                item[i, k] += w * of_user
            bias[u] += w
        found, prior = curved(made, linear_response=linear_response), vectors.scale.numpy() ** -2
        np.testing.assert_allclose(found.user.variance.detach(), 1 / (user + prior), rtol=SINGLE)
        np.testing.assert_allclose(found.item.variance.detach(), 1 / (item + prior), rtol=SINGLE)
        np.testing.assert_allclose(found.biases[USER_BIAS].variance.detach().squeeze(1), 1 / (bias + 1.0), rtol=SINGLE)
        for name in ("user", "item"):
            torch.testing.assert_close(getattr(found, name).mean, getattr(vectors, name).mean)
        torch.testing.assert_close(found.biases[USER_BIAS].mean, vectors.biases[USER_BIAS].mean)


def test_linear_response_only_raises_variances(made):
    mean_field, wider = curved(made), curved(made, linear_response=True)
    for name in ("user", "item"):
        assert (getattr(wider, name).variance > getattr(mean_field, name).variance).all()
    torch.testing.assert_close(wider.biases[USER_BIAS].variance, mean_field.biases[USER_BIAS].variance)


def test_the_likelihood_is_blind_to_what_a_step_stretches(made):
    """KL does not change when rows and scales are stretched together: a step of sizes is about the likelihood alone."""
    vectors = Vectors.of(made)
    stretch = torch.tensor([0.5, 1.0, 2.0]).double()
    stretched = replace(
        vectors, user=vectors.user.scaled(stretch), item=vectors.item.scaled(stretch), scale=vectors.scale * stretch
    )
    torch.testing.assert_close(kl(stretched), kl(vectors))


def objective(p):
    """Return the expected log-likelihood at the mean popularity, less the KL of vectors, with the prior of b0."""
    with torch.no_grad():
        total = sum(expected_log_likelihood(p, part, part.mean, part.sd) for part in affinities(p))
        prior = Normal(0.0, INTERCEPT_SCALE).log_prob(p.model.affinity.intercept)
        return (total - kl(Vectors.of(p)).sum() + prior).item()


@pytest.mark.parametrize("seed", range(4))
def test_a_step_of_sizes_climbs(made, seed):
    random_vectors(seed=seed).write(made)
    before = objective(made)
    with torch.no_grad():
        step_of_sizes(made)
    assert objective(made) > before


@pytest.mark.parametrize("size", [0.6, 1.0, 1.6])
def test_steps_of_sizes_end_at_the_optimum(made, simulated, size):
    """From vectors of the right directions and of another size."""
    truth = simulated[made.study.model.name].truth
    user, item = (
        torch.from_numpy(truth[f"{side}_vectors"].set_index("id").loc[ids].to_numpy(copy=True))
        for side, ids in (("user", made.events.users), ("item", made.events.items))
    )
    tables = (Table(size * mean, torch.full_like(mean, 0.05)) for mean in (user, item))
    random = random_vectors()
    replace(random, user=next(tables), item=next(tables)).write(made)
    with torch.no_grad():
        for _ in range(40):
            step_of_sizes(made)
    end, vectors, intercept = objective(made), Vectors.of(made), made.model.affinity.intercept.detach().clone()
    # no other size of any dimension, and no other intercept, is better
    for sign in (-0.1, 0.1):
        for k in range(DIM):
            stretch = torch.ones(DIM).double()
            stretch[k] += sign
            user, item = vectors.user.scaled(stretch), vectors.item.scaled(stretch)
            replace(vectors, user=user, item=item, scale=vectors.scale * stretch).write(made)
            assert objective(made) < end
        vectors.write(made)
        with torch.no_grad():
            made.model.affinity.intercept_unconstrained.copy_(intercept + sign)
            assert objective(made) < end
            made.model.affinity.intercept_unconstrained.copy_(intercept)


def test_the_schedule(made):
    assert VectorScales.of(made) is not None
    for affinity in ({"posterior": "point"}, {"scale": 0.5}):
        study = made.study.replace("model", affinity={"name": "embedding", "dim": DIM, **affinity})
        assert VectorScales.of(pair(made.events, study=study)) is None
    assert VectorScales.holds("model.affinity.vector_log_scale_unconstrained")
    assert VectorScales.holds("guide.affinity.user_vectors_log_scale_unconstrained")
    assert not VectorScales.holds("guide.affinity.user_vectors_loc_unconstrained")
    scales = VectorScales(made)
    epochs = made.study.training.epochs
    assert scales.factor(0) == scales.factor(round(0.6 * epochs)) == 1.0
    assert scales.factor(epochs) == pytest.approx(vector_scales.LOWEST)


def vector_study(**training):
    return pb.Study(
        model={"name": "inverse-logistic", "affinity": {"name": "embedding", "dim": 8}},
        guide={"name": "lognormal"},
        training={"device": "cpu", **training},
    )


@pytest.mark.nightly
@pytest.mark.slow
def test_the_true_rank_is_found():
    sim = pb.simulate(model="inverse-logistic", users=150, items=100, interactions=15_000, dim=2, seed=0)
    fit = pb.fit(sim.events, study=vector_study(), progress=False)
    table = fit.parameters().set_index("name")["mean"]
    assert table["effective_rank"] == 2
    assert [name for name in table.index if name.startswith("vector_scale")] == ["vector_scale[0]", "vector_scale[1]"]


def events_without_signal(*, users=60, items=40, rows=3_000, seed=0):
    """Labels of popularity alone: vectors are 0."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(users, size=rows), rng.integers(items, size=rows)
    z = rng.gamma(2.0, 0.5, size=items)
    label = rng.random(rows) < z[item] / (1 + z[item])
    frame = pd.DataFrame({"user": user, "item": item, "label": label.astype(int)}).astype({"user": str, "item": str})
    return pb.Interactions.from_frame(frame, label="label")


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_rank(seed):
    fit = pb.fit(events_without_signal(seed=seed), study=vector_study(batch_size=500), progress=False)
    assert fit.parameters().set_index("name").loc["effective_rank", "mean"] <= 1


@pytest.mark.parametrize("user_bias", [True, False])
def test_a_fit_of_rank_0_does_everything(user_bias, brief, monkeypatch, tmp_path):
    monkeypatch.setattr(vector_scales, "WORTH", np.inf)
    affinity = {"name": "embedding", "dim": 4, "user_bias": user_bias}
    study = vector_study(epochs=4, batch_size=1_000).replace("model", affinity=affinity)
    fit = pb.fit(events_without_signal(), study=study, progress=False)
    assert fit.model.affinity.dim == 0
    assert fit.parameters().set_index("name").loc["effective_rank", "mean"] == 0
    top = fit.recommend(k=5)
    scores = fit.predict(top)
    np.testing.assert_allclose(scores["score"], top["score"], rtol=1e-6)
    if user_bias:
        assert (scores["score_sd"] > 0).all()
    # without vectors an affinity is the same for all items of a user
    one = fit.predict(pd.DataFrame({"user": "1", "item": fit.catalogue.items}))["score"]
    np.testing.assert_allclose(one, one[0], rtol=1e-6)
    fit.save(tmp_path / "run")
    again = pb.load(tmp_path / "run")
    pd.testing.assert_frame_equal(again.predict(top), scores, check_exact=True)
    pd.testing.assert_frame_equal(again.popularity(), fit.popularity(), check_exact=True)
    pd.testing.assert_frame_equal(again.parameters(), fit.parameters(), check_exact=True)
    assert np.isfinite(again.check().tables["accuracy"]["kl"]).all()
    assert fit.to_arviz(draws=10)["posterior"]["popularity"].notnull().all()


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(("users", "items"), [(20, 15), (20, 40), (40, 20)])
def test_a_log_may_have_fewer_rows_than_dimensions(users, items):
    events = events_without_signal(users=users, items=items, rows=400)
    study = vector_study(epochs=5).replace("model", affinity={"name": "embedding", "dim": 64})
    fit = pb.fit(events, study=study, progress=False)
    assert fit.model.affinity.dim <= min(users, items)


@pytest.mark.parametrize("dropped", ["some", "all"])
def test_resumed_after_dimensions_were_dropped(dropped, simulated, monkeypatch):
    if dropped == "all":
        monkeypatch.setattr(vector_scales, "WORTH", np.inf)
    else:
        # the first of the turned dimensions, and no other
        monkeypatch.setattr(vector_scales, "gains", lambda p: (first_only(p), torch.ones_like(first_only(p))))
    study = vector_study(epochs=8, batch_size=300)

    def train(**options):
        p, saved = pair(simulated["inverse-logistic"].events, study=study), []
        history = loop.train(p, phase_two=SHORT, save=lambda each: saved.append(copy.deepcopy(each)), **options).history
        return state(p), history.drop(columns="seconds"), saved

    whole, history, saved = train()
    ranks = [len(tensors["parameters.model.affinity.vector_log_scale_unconstrained"]) for _, tensors in saved]
    assert ranks[0] == 8
    assert ranks[-1] == (1 if dropped == "some" else 0)
    for snapshot in saved[:-1]:  # before, at and after the epoch that drops
        resumed, rest, _ = train(resume=copy.deepcopy(snapshot))
        pd.testing.assert_frame_equal(rest, history, check_exact=True)
        assert resumed.keys() == whole.keys()
        for name, tensor in whole.items():
            assert torch.equal(tensor, resumed[name]), name


def first_only(p):
    return (torch.arange(p.model.affinity.dim) == 0).double() * 2


def state(p):
    return {f"{part}.{k}": v for part in ("model", "guide") for k, v in getattr(p, part).state_dict().items()}
