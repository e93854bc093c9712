"""The variance of x that dropped dimensions leave: found where it is, of the right size, and nowhere else."""

import numpy as np
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.assembly.pair import pair
from pyro_popbias.training.residual import Slopes, find_residual, residual_variance
from pyro_popbias.training.vectors import Table, Vectors

USERS, ITEMS = 200, 150
NOISE = 0.25  # variance of a label at a probability of one half


def slopes(strengths, *, seed=0, level=0.0, missing=0.0):
    """Slopes of one label a pair, with a low-rank R in them and noise of variance NOISE, and its variances by direction."""
    rng = np.random.default_rng(seed)
    rest = np.zeros((USERS, ITEMS))
    for s in strengths:
        rest += s * np.outer(rng.normal(size=USERS), rng.normal(size=ITEMS))
    x = rest + level * rng.normal(size=(1, ITEMS)) + level * rng.normal(size=(USERS, 1))
    g = NOISE * x + rng.normal(size=(USERS, ITEMS)) * NOISE**0.5
    seen = (rng.random((USERS, ITEMS)) >= missing).astype(float)
    tables = [seen * g, seen * NOISE, seen * NOISE]
    centred = rest - rest.mean(0) - rest.mean(1, keepdims=True) + rest.mean()
    true = np.linalg.svd(centred, compute_uv=False)[: len(strengths)] ** 2 / rest.size
    return Slopes(*map(torch.from_numpy, tables)), true


@pytest.mark.parametrize("missing", [0.0, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_strong_directions_are_found_with_their_size(seed, missing):
    table, true = slopes([1.2, 0.8], seed=seed, level=0.5, missing=missing)
    found = table.signals(0).numpy()
    assert len(found) == 2
    # a singular value theta of noise of variance 1 has a standard error of about 1
    theta = np.sqrt(true * USERS * ITEMS * NOISE * (1 - missing))
    np.testing.assert_allclose(found, true, rtol=float(4 * 2 / theta.min()))


def with_singular_values(values):
    """Return slopes of one label a pair, without levels, whose S has these singular values."""
    rng = np.random.default_rng(0)
    ones = (np.ones((n, 1)) for n in (USERS, ITEMS))
    left, right = (np.linalg.qr(np.hstack([one, rng.normal(size=(len(one), len(values)))]))[0][:, 1:] for one in ones)
    slope = left * np.array(values) @ right.T * NOISE**0.5
    return Slopes(*map(torch.from_numpy, (slope, np.full_like(slope, NOISE), np.full_like(slope, NOISE))))


@pytest.mark.parametrize("strength", [45.0, 60.0, 400.0])
def test_the_size_of_a_direction_is_what_noise_makes_of_it(strength):
    """In units of noise, s^2 = theta + U + K + U K / theta, where noise is what the other directions hold."""
    others = np.linspace(20.0, 1.0, ITEMS - 2)
    (found,) = with_singular_values([strength, *others]).signals(0).tolist()
    unit = (others**2).sum() / ((USERS - 1) * (ITEMS - 1))
    theta = found * (USERS * ITEMS * NOISE) ** 2 / (USERS * ITEMS * NOISE) / unit
    assert theta + USERS + ITEMS + USERS * ITEMS / theta == pytest.approx(strength**2 / unit, rel=1e-9)
    assert theta > (USERS * ITEMS) ** 0.5  # the larger root


def test_noise_and_levels_have_no_direction():
    counts = [len(slopes([], seed=seed, level=1.0)[0].signals(seed)) for seed in range(20)]
    assert sum(counts) <= 6  # one in nine by chance: 4 standard errors above 2.2


def test_no_rows_have_none():
    for users, items in ((5, 4), (1, 4), (0, 0)):
        assert len(Slopes(*torch.zeros(3, users, items, dtype=torch.float64)).signals(0)) == 0


def test_a_slope_that_is_not_finite_shows_nothing():
    table, _ = slopes([1.2])
    table.slope[3, 4] = torch.nan
    assert len(table.signals(0)) == 0


def with_true_vectors(*, keep, model="inverse-logistic", seed=0):
    """A pair whose vectors are the first of the true ones, with next to no variance, and the variance of x by the others."""
    sim = pb.simulate(model=model, users=USERS, items=ITEMS, interactions=30_000, dim=3, seed=seed, concentration=50.0)
    affinity = {"name": "embedding", "dim": max(keep, 1)}
    study = pb.Study(model={"name": model, "affinity": affinity}, training={"validation": 0.0, "device": "cpu"})
    made = pair(sim.events, study=study)
    user, item = (
        torch.from_numpy(sim.truth[f"{side}_vectors"].set_index("id").loc[ids].to_numpy().copy())
        for side, ids in (("user", sim.events.users), ("item", sim.events.items))
    )
    tiny = 1e-6
    old = Vectors.of(made)
    tables = (Table(rows[:, :keep], torch.full((len(rows), keep), tiny).double()) for rows in (user, item))
    biases = {
        site: Table(torch.zeros_like(bias.mean), torch.full_like(bias.variance, tiny))
        for site, bias in old.biases.items()
    }
    Vectors(*tables, torch.full((keep,), 3**-0.25, dtype=torch.float64), biases, old.bias_scales).write(made)
    rest = (user[:, keep:] @ item[:, keep:].T).square().mean()
    return made, float(rest)


@pytest.mark.parametrize("model", ["inverse-logistic", "product"])
@pytest.mark.parametrize("keep", [0, 1, 3])
def test_what_true_vectors_leave_out_is_found(keep, model):
    made, rest = with_true_vectors(keep=keep, model=model)
    found = residual_variance(made)
    if keep == 3:
        assert found == 0.0
    else:
        # by its standard error, and by popularity, which is at its start
        assert found == pytest.approx(rest, rel=0.35)


def test_it_widens_scores_and_moves_none():
    made, _ = with_true_vectors(keep=1)
    find_residual(made)
    assert float(made.guide.residual_variance) == residual_variance(made) > 0
    codes = torch.arange(5)
    affinity = made.model.affinity.pairs(codes, codes, None, made.guide.weights())
    wide = made.guide.with_residual(affinity)
    torch.testing.assert_close(wide.mean, affinity.mean)
    torch.testing.assert_close(wide.variance, affinity.variance + made.guide.residual_variance)


def test_nothing_is_found_where_negatives_are_drawn_or_scales_given():
    sim = pb.simulate(users=60, items=40, interactions=4_000, exposure=1.0, labels="positives", seed=0)
    drawn = pair(sim.events, study=pb.Study(training={"device": "cpu"}))
    given = pair(
        pb.simulate(users=60, items=40, interactions=4_000, seed=0).events,
        study=pb.Study(model={"affinity": {"name": "embedding", "dim": 1, "scale": 0.1}}, training={"device": "cpu"}),
    )
    for made in (drawn, given):
        find_residual(made)
        assert float(made.guide.residual_variance) == 0.0
        affinity = made.model.affinity.pairs(torch.zeros(1).long(), torch.zeros(1).long(), None, made.guide.weights())
        assert made.guide.with_residual(affinity) is affinity
