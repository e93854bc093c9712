from itertools import pairwise

import numpy as np
import pytest
import torch
from pyro.distributions import Gamma, LogNormal, Normal
from scipy import integrate

import pyro_popbias as pb
from pyro_popbias.assembly.pair import pair
from pyro_popbias.checks import exact_posterior as module
from pyro_popbias.checks.cell_likelihood import CellObservations
from pyro_popbias.checks.exact_posterior import exact_posterior, find_ends
from pyro_popbias.checks.training_rows import TrainingRows

CASES = [
    ("product", "gamma", "gamma"),
    ("product", "weibull", "lognormal"),
    ("product", "exponential", "exponential"),
    ("inverse-logistic", "lognormal", "weibull"),
    ("additive", "normal", "normal"),
    ("additive", "gamma", "gamma"),
]


def moved(made, *, seed=0):
    """Move q away from the prior, and the scalars and vectors from their start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.guide.popularity.parameters():
            parameter += 0.4 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        for parameter in made.model.parameters():
            parameter += 0.5 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return made


def make(events, model, prior, guide, **training):
    points = {"name": "embedding", "dim": 3, "posterior": "point", "user_bias": False}
    study = pb.Study(
        model={"name": model, "prior": {"name": prior}, "affinity": points},
        guide={"name": guide},
        training={"device": "cpu", **training},
    )
    return moved(pair(events, study=study))


def distributions(made, cell):
    codes = torch.from_numpy(cell)
    return made.model.prior.distribution(codes), made.guide.popularity.posterior(codes)


def by_scipy(made, prior, q, evidence, cell_index):
    """Return log evidence, KL, mean and sd of one cell by adaptive quadrature over z."""
    mine = evidence.cell_index == cell_index
    rows = CellObservations(*(getattr(evidence, name)[mine] for name in ("cell_index", "affinity", "label", "weight")))

    def log_joint(z):
        value = torch.tensor(z, dtype=torch.float64)
        distribution = made.model.likelihood(rows.affinity, value.expand(len(rows)))
        return float(prior.log_prob(value)[cell_index] + (rows.weight * distribution.log_prob(rows.label)).sum())

    def log_q(z):
        return float(q.log_prob(torch.tensor(z, dtype=torch.float64))[cell_index])

    center, sd = float(q.mean[cell_index]), float(q.stddev[cell_index])
    bounds = (0.0, np.inf) if q.support is not torch.distributions.constraints.real else (-np.inf, np.inf)
    points = [max(1e-9, center + k * sd) if bounds[0] == 0 else center + k * sd for k in (-6, -3, -1, 1, 3, 6, 15)]
    top = max(log_joint(z) for z in np.linspace(max(bounds[0], center - 3 * sd) + 1e-6, center + 3 * sd, 50))

    def integral(function):
        ends = [bounds[0], *sorted(points), bounds[1]]
        pieces = pairwise(ends)
        return sum(integrate.quad(function, *piece, epsabs=1e-13, epsrel=1e-11, limit=300)[0] for piece in pieces)

    total = integral(lambda z: np.exp(log_joint(z) - top))
    mean = integral(lambda z: z * np.exp(log_joint(z) - top)) / total
    second = integral(lambda z: (z - mean) ** 2 * np.exp(log_joint(z) - top)) / total
    log_evidence = top + np.log(total)
    kl = integral(lambda z: np.exp(log_q(z)) * (log_q(z) - log_joint(z) + log_evidence) if log_q(z) > -700 else 0.0)
    return log_evidence, kl, mean, second**0.5


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::scipy.integrate.IntegrationWarning"
)  # rounding is met before the precision asked for
@pytest.mark.parametrize(("model", "prior", "guide"), CASES)
@torch.no_grad()
def test_against_adaptive_quadrature(events, model, prior, guide):
    made = make(events, model, prior, guide)
    rows = TrainingRows(made)
    cell = np.flatnonzero(rows.count)[:3]
    p, q = distributions(made, cell)
    evidence = rows.of(cell)
    exact = exact_posterior(made.model, p, q, evidence)
    mean, sd = exact.moments()
    for cell_index in range(len(cell)):
        found = [float(part[cell_index]) for part in (exact.log_evidence, exact.kl, mean, sd)]
        assert found == pytest.approx(by_scipy(made, p, q, evidence, cell_index), abs=1e-6)


@torch.no_grad()
def test_only_training_rows_count(events):
    made = make(events, "product", "gamma", "gamma", validation=0.3)
    rows, everything = TrainingRows(made), made.rows
    assert rows.count.sum() == len(everything) < len(events)
    cell = np.arange(events.cells)
    evidence, z = rows.of(cell), torch.linspace(0.3, 2.0, 5, dtype=torch.float64).unsqueeze(1).expand(5, len(cell))
    batch = made.whole()
    affinity = made.model.affinity.pairs(batch.user, batch.item, None, {}).mean
    each = made.model.likelihood(affinity, z[:, :1].expand(5, len(affinity))).log_prob(batch.label)
    expected = torch.zeros_like(z).index_add_(1, batch.cell[batch.cell_index], each)
    torch.testing.assert_close(evidence.log_likelihood(made.model, z), expected)


@pytest.mark.parametrize("periods", [1, 2])
@torch.no_grad()
def test_sampled_negatives_enter_by_their_expectation(frame, periods):
    events = pb.Interactions.from_frame(frame.drop(columns="label")[:120], time="time", periods=periods)
    made = make(events, "product", "gamma", "gamma", validation=0.2)
    cell = np.arange(events.cells)
    z = torch.full((1, len(cell)), 0.7, dtype=torch.float64)
    exact = TrainingRows(made).of(cell).log_likelihood(made.model, z)[0]
    draws = []
    for seed in range(400):
        batch = made.rows.batch(torch.arange(len(made.rows)), stream=(seed,))
        affinity = made.model.affinity.pairs(batch.user, batch.item, None, {}).mean
        each = made.model.likelihood(affinity, torch.full_like(affinity, 0.7)).log_prob(batch.label)
        draws.append(torch.zeros(len(cell), dtype=torch.float64).index_add_(0, batch.cell[batch.cell_index], each))
    draws = torch.stack(draws)
    error = draws.std(0) / len(draws) ** 0.5
    assert (abs(draws.mean(0) - exact) <= 5 * error + 1e-9).all()


@pytest.mark.parametrize("model", ["product", "additive", "inverse-logistic"])
@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
@torch.no_grad()
def test_compressed_rows_have_the_same_log_likelihood(events, model, spread):
    made = make(
        events, model, "normal" if model == "additive" else "gamma", "normal" if model == "additive" else "gamma"
    )
    generator = torch.Generator().manual_seed(0)
    number = 6000
    rows = CellObservations(
        cell_index=torch.randint(3, (number,), generator=generator),
        affinity=spread * torch.randn(number, generator=generator, dtype=torch.float64),
        label=torch.randint(2, (number,), generator=generator).double(),
        weight=torch.rand(number, generator=generator, dtype=torch.float64),
    )
    few = rows.compressed()
    assert len(few) < number / 3
    z = torch.logspace(-4, 2, 30, dtype=torch.float64).unsqueeze(1).expand(30, 3)
    torch.testing.assert_close(
        few.log_likelihood(made.model, z), rows.log_likelihood(made.model, z), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize(
    "distribution",
    [
        Gamma(torch.tensor([0.3, 2.0, 1e5]).double(), torch.tensor([1.0, 2.0, 1e5]).double()),
        LogNormal(torch.zeros(2).double(), torch.tensor([0.01, 4.0]).double()),
    ],
)
def test_ends_hold_the_mass(distribution):
    def log_density(t):
        return distribution.log_prob(t.exp()) + t

    shape = distribution.batch_shape
    # a search that begins far away, and one that begins with too wide a range
    for low, high in ((50.0, 51.0), (-600.0, 600.0)):
        ends = find_ends(log_density, torch.full(shape, low).double(), torch.full(shape, high).double())
        t = module._between(*ends, 4000)
        mass = torch.exp(log_density(t) + module._log_step(t)).sum(0)
        torch.testing.assert_close(mass, torch.ones(shape).double(), rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_q_that_is_the_posterior_has_no_kl(events):
    """Without rows the posterior is the prior, in every family."""
    made = make(events, "product", "gamma", "gamma")
    nothing = CellObservations(*(torch.zeros(0, dtype=kind) for kind in (torch.int64, *[torch.float64] * 3)))
    for distribution in (Gamma(2.0, 3.0), LogNormal(0.3, 0.8), Normal(0.0, 1.0)):
        same = type(distribution)(
            *(getattr(distribution, name).double().expand(2) for name in distribution.arg_constraints)
        )
        exact = exact_posterior(made.model, same, same, nothing)
        mean, sd = exact.moments()
        assert exact.kl.abs().max() < 1e-9
        assert exact.log_evidence.abs().max() < 1e-9
        torch.testing.assert_close(mean, same.mean, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(sd, same.stddev, rtol=1e-7, atol=1e-7)
        middle = exact.mass(same.mean - same.stddev.clamp(max=0.5), same.mean + same.stddev)
        if isinstance(distribution, Normal):
            assert middle == pytest.approx([0.5328, 0.5328], abs=1e-4)  # Phi(1) - Phi(-.5)
