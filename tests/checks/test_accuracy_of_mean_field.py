"""Where affinities have a distribution, q is held against prior * exp(E log-likelihood) over it, cell by cell."""

import numpy as np
import pytest
import torch
from scipy import stats

import pyro_popbias as pb
from pyro_popbias.assembly.pair import pair
from pyro_popbias.checks.accuracy import accuracy
from pyro_popbias.distributions import quantile

WAYS = {
    "product": ("product", "lognormal", "gamma"),
    "inverse-logistic": ("inverse-logistic", "gamma", "gamma"),
    "additive": ("additive", "normal", "normal"),
}


@pytest.fixture(params=WAYS)
def made(request):
    """A pair with wide vectors, so that their mean alone would be another posterior."""
    model, guide, prior = WAYS[request.param]
    sim = pb.simulate(model=model, prior=prior, users=30, items=8, interactions=500, dim=2, seed=0)
    study = pb.Study(
        model={"name": model, "prior": {"name": prior}, "affinity": {"name": "embedding", "dim": 2}},
        guide={"name": guide},
        training={"validation": 0.0, "device": "cpu"},
    )
    p, generator = pair(sim.events, study=study), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in p.guide.affinity.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.copy_(np.log(0.6) + 0.2 * noise if "log_scale" in name else 0.7 * noise)
    return p


def by_brute_force(p, cell, *, nodes):
    """Return KL(q || p), mean and sd of p, and what q's 90 % interval holds of it, on a fine grid of t."""
    events, q = p.events, p.guide.popularity.posterior(torch.tensor([cell]))
    real = p.model.latents["popularity"].support is torch.distributions.constraints.real
    low, high = (quantile(q, share).item() for share in (1e-7, 1 - 1e-7))
    low, high = (low, high) if real else (np.log(low), np.log(high))
    reach = high - low
    t = torch.linspace(low - reach, high + reach, 1001, dtype=torch.float64)
    z, jacobian = (t, torch.zeros_like(t)) if real else (t.exp(), t)
    mine = np.flatnonzero(events.cell == cell)
    user, item, label = (
        torch.from_numpy(part[mine].astype("int64")) for part in (events.user, events.item, events.label)
    )
    with torch.no_grad():
        x = p.model.affinity.pairs(user, item, None, p.guide.weights())
        at, share = np.polynomial.hermite_e.hermegauss(nodes)
        log_joint = p.model.prior.distribution(torch.tensor([cell])).log_prob(z) + jacobian
        for node, weight in zip(at, share / share.sum(), strict=True):
            values = p.model.likelihood(x.mean + node * x.variance.sqrt(), z.unsqueeze(-1)).log_prob(label.double())
            log_joint = log_joint + weight * values.sum(-1)
        log_q = (q.log_prob(z) + jacobian).numpy()
    step, log_joint, z = (t[1] - t[0]).item(), log_joint.numpy(), z.numpy()
    top = log_joint.max()
    log_p = log_joint - top - np.log(np.exp(log_joint - top).sum() * step)
    density, of_q = np.exp(log_p) * step, np.exp(log_q) * step
    mean = density @ z
    ends = [quantile(q, share).item() for share in (0.05, 0.95)]
    return {
        "kl": of_q @ np.where(of_q > 0, log_q - log_p, 0.0),
        "exact_mean": mean,
        "exact_sd": np.sqrt(density @ (z - mean) ** 2),
        "coverage": np.diff(np.interp(ends, z, density.cumsum() - 0.5 * density))[0],
    }


def test_the_exact_posterior_is_that_of_brute_force(made):
    found = accuracy(made)
    assert not found.reason
    table = found.table.set_index("item")
    assert len(table) == 8
    # 5 nodes of the check's rule over x: log P is smooth on the scale of its standard deviation, of about 1
    for code, item in enumerate(made.events.items):
        fine = by_brute_force(made, code, nodes=5)
        for column, value in fine.items():
            # the check's own nodes are few: an interval's end falls between two of 128
            slack = 1e-3 if column == "coverage" else 1e-6
            assert table.loc[item, column] == pytest.approx(value, rel=1e-4, abs=slack), (item, column)


@pytest.mark.slow
def test_five_nodes_are_enough(made):
    table = accuracy(made).table.set_index("item")
    for code, item in enumerate(made.events.items):
        fine = by_brute_force(made, code, nodes=40)
        sd = fine["exact_sd"]
        assert abs(table.loc[item, "exact_mean"] - fine["exact_mean"]) < 0.02 * sd
        assert table.loc[item, "exact_sd"] == pytest.approx(sd, rel=0.02)


def test_affinities_at_their_means_would_be_another_posterior(made):
    """What the brute force above would not tell apart from a check that ignores variances."""
    table = accuracy(made).table.set_index("item")
    errors = []
    for code, item in enumerate(made.events.items):
        at_means = by_brute_force(made, code, nodes=1)
        errors.append(abs(table.loc[item, "exact_mean"] - at_means["exact_mean"]) / at_means["exact_sd"])
    assert max(errors) > 0.1


@pytest.mark.nightly
@pytest.mark.slow
def test_a_trained_q_is_near():
    sim = pb.simulate(users=150, items=60, interactions=10_000, dim=2, seed=0)
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 4}},
        guide={"name": "lognormal"},
        training={"device": "cpu"},
    )
    fit = pb.fit(sim.events, study=study, progress=False)
    found = accuracy(fit)
    assert found.mean_kl < pb.GUIDES["lognormal"].bounds.mean
    # 60 cells of about 150 rows: q covers 90 % of it up to the standard error of a mean of shares
    covered = found.table["coverage"]
    assert covered.mean() == pytest.approx(0.9, abs=max(0.02, 4 * stats.sem(covered)))
