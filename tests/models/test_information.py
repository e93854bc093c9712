"""The Fisher information of a label about x and z, against finite differences of log P, for every model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import constraints

import pyro_popbias as pb
from pyro_popbias.assembly.pair import pair
from pyro_popbias.models import SATURATIONS
from pyro_popbias.models.pda import PAIRS

POINTWISE = [name for name, cls in pb.MODELS.items() if not cls.pairwise]
VARIANTS = [
    (name, saturation)
    for name in POINTWISE
    for saturation in [each for each, g in SATURATIONS.items() if pb.MODELS[name].takes_saturation(g)] or [None]
]
FIRST, SECOND = 1e-5, 1e-3  # steps of the differences: rounding and truncation are about equal
# truncation of a second difference is h^2 / 12 times the fourth derivative, which is of the size of the second
TOLERANCE = 1e-5
ROWS = 60


def made(name, **section):
    sim = pb.simulate(model=name, users=20, items=15, interactions=150, seed=0, dim=2)
    section = {"affinity": {"name": "embedding", "dim": 2, "posterior": "point"}, **section}
    study = pb.Study(model={"name": name, **section}, training={"validation": 0.0, "device": "cpu"})
    return pair(sim.events, study=study)


def points(model, number, seed=0):
    rng = np.random.default_rng(seed)
    real = model.latents["popularity"].support is constraints.real
    z = rng.normal(size=number) if real else rng.gamma(2.0, 0.5, size=number) + 0.05
    return torch.from_numpy(rng.normal(0.0, 1.5, size=number)), torch.from_numpy(z)


def log_p(model, batch, x, z, move):
    """Return log P of both labels at a move of x and of log z, or of z where it is real, `(2, B)`."""
    real = model.latents["popularity"].support is constraints.real
    moved = z + move[1] if real else z * np.exp(move[1])
    labels = [torch.zeros_like(x), torch.ones_like(x)]
    return torch.stack([model.log_likelihood(replace(batch, label=each), x + move[0], moved) for each in labels])


@pytest.mark.parametrize(("name", "saturation"), VARIANTS)
def test_information_is_that_of_finite_differences(name, saturation):
    p = made(name, **({"saturation": {"name": saturation}} if saturation else {}))
    model, batch = p.model, p.rows.batch(torch.arange(ROWS))
    x, z = points(model, ROWS)
    with torch.no_grad():
        found = model.information(batch, x, z)

        def at(*move):
            return log_p(model, batch, x, z, move)

        probability = at(0, 0).exp()
        torch.testing.assert_close(probability.sum(0), torch.ones_like(x))
        # E[s s'] by first differences
        h = FIRST
        of_x, of_z = ((at(*step) - at(*(-each for each in step))) / (2 * h) for step in ((h, 0.0), (0.0, h)))
        products = [(probability * each).sum(0) for each in (of_x * of_x, of_x * of_z, of_z * of_z)]
        # -E[second derivatives] by second differences
        h = SECOND
        curvatures = [
            (2 * at(0, 0) - at(h, 0) - at(-h, 0)) / h**2,
            (at(h, -h) + at(-h, h) - at(h, h) - at(-h, -h)) / (4 * h**2),
            (2 * at(0, 0) - at(0, h) - at(0, -h)) / h**2,
        ]
        second = [(probability * each).sum(0) for each in curvatures]
    for value, by_slopes, by_curvature in zip(
        (found.affinity, found.both, found.popularity), products, second, strict=True
    ):
        torch.testing.assert_close(value, by_slopes, rtol=TOLERANCE, atol=TOLERANCE)
        torch.testing.assert_close(value, by_curvature, rtol=TOLERANCE, atol=TOLERANCE)
    # positive definite up to one direction: each row has one probability
    torch.testing.assert_close(found.both.square(), found.affinity * found.popularity)


@pytest.mark.parametrize("name", POINTWISE)
def test_information_is_the_variance_of_slopes_of_drawn_labels(name):
    p = made(name)
    batch, draws = p.rows.batch(torch.arange(4)), 200_000
    x, z = points(p.model, 4, seed=1)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        found = p.model.information(batch, x, z)
        label = p.model.likelihood(x, z).sample((draws,))
        slopes = [
            (log_p(p.model, batch, x, z, move) - log_p(p.model, batch, x, z, [-each for each in move])) / (2 * FIRST)
            for move in ([FIRST, 0.0], [0.0, FIRST])
        ]
        s, t = (torch.where(label > 0, slope[1], slope[0]) for slope in slopes)
    for value, drawn in ((found.affinity, s * s), (found.both, s * t), (found.popularity, t * t)):
        error = 4 * drawn.std(0) / draws**0.5
        assert (abs(drawn.mean(0) - value) < error).all()


def test_information_of_saturated_probabilities_is_finite():
    """No row may poison the sums over all rows, however extreme its affinity."""
    for name in POINTWISE:
        p = made(name)
        batch = p.rows.batch(torch.arange(4))
        x = torch.tensor([-200.0, -40.0, 40.0, 200.0], dtype=torch.float64)
        for popularity in (1e-6, 1.0, 30.0):
            found = p.model.information(batch, x, torch.full_like(x, popularity))
            for value in (found.affinity, found.both, found.popularity):
                assert torch.isfinite(value).all(), (name, popularity, value)


@pytest.mark.parametrize("negatives", [1, 3])
def test_information_of_pairs_by_hand(negatives):
    sim = pb.simulate(model="pda", users=20, items=15, interactions=40, seed=0, dim=2)
    study = pb.Study(
        model={
            "name": "pda",
            "affinity": {"name": "embedding", "dim": 2},
            "saturation": {"name": "power", "exponent": 0.8},
        },
        data={"negatives": negatives},
        training={"validation": 0.0, "device": "cpu"},
    )
    p = pair(sim.events, study=study)
    batch = p.rows.batch(torch.arange(7))
    positives, number = 7, 7 * (1 + negatives)
    x, z = points(p.model, number)
    with torch.no_grad():
        found = p.model.information(batch, x, z)
    x, z = x.numpy(), z.numpy()
    exponent = 0.8

    def score(x, z):
        return (1 + x if x > 0 else np.exp(x)) * z**exponent

    expected = np.zeros((3, number))
    for positive in range(positives):
        for k in range(negatives):
            other = positives + negatives * positive + k
            chance = 1 / (1 + np.exp(score(x[other], z[other]) - score(x[positive], z[positive])))
            for row in (positive, other):
                of_x = (1 if x[row] > 0 else np.exp(x[row])) * z[row] ** exponent
                of_z = exponent * score(x[row], z[row])  # d s / d log z
                weight = PAIRS / negatives * chance * (1 - chance)
                expected[:, row] += weight * np.array([of_x * of_x, of_x * of_z, of_z * of_z])
    for value, by_hand in zip((found.affinity, found.both, found.popularity), expected, strict=True):
        np.testing.assert_allclose(value.numpy(), by_hand, rtol=1e-10)


def test_information_of_pairs_is_the_expected_curvature():
    """With the other row given, and each order as likely as it is."""
    p = made("pda")
    batch = p.rows.batch(torch.arange(ROWS // 2))
    number = len(batch.user)
    x, z = points(p.model, number)
    with torch.no_grad():
        found = p.model.information(batch, x, z)
        preferred, other = p.model._pairs(batch, p.model.conditional_probability(x, z))
        chance = torch.sigmoid(preferred - other)

        def total(move, rows):
            x_moved = x + move[0] * rows
            z_moved = z * torch.exp(move[1] * rows)
            one, two = p.model._pairs(batch, p.model.conditional_probability(x_moved, z_moved))
            log = torch.nn.functional.logsigmoid
            weight = PAIRS / batch.negatives
            return weight * (chance * log(one - two) + (1 - chance) * log(two - one))

        for rows in (torch.arange(number) < batch.positives, torch.arange(number) >= batch.positives):
            for value, axis in ((found.affinity, (1, 0)), (found.popularity, (0, 1))):
                ahead, behind = (total([sign * SECOND * each for each in axis], rows) for sign in (1, -1))
                curvature = (2 * total((0, 0), rows) - ahead - behind) / SECOND**2
                per_row = curvature.reshape(batch.positives, -1).sum(-1) if rows[0] else curvature
                # ELU has a kink of its second derivative at 0, over which a difference may reach
                near = abs(x[rows]) > SECOND
                torch.testing.assert_close(value[rows][near], per_row[near], rtol=1e-4, atol=1e-4)
