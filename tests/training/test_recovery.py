from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from torch.distributions import constraints

import pyro_popbias as pb
from pyro_popbias.checks.accuracy import accuracy

SEEDS = range(5)
REPORTED = range(2)  # seeds of guides of whose KL nothing is demanded
CONCENTRATION = 2.0
GRID = np.linspace(-14.0, 5.0, 800)  # nodes of log z


@dataclass(frozen=True)
class Demand:
    """What a guide must reach: KL(q || posterior) in nats, and coverage of 90 % intervals, a seed and on average."""

    kl: float = np.inf
    coverage: tuple[float, float] = (0.0, 1.0)
    mean_coverage: tuple[float, float] = (0.0, 1.0)


# by the beginning of a guide's name. Two numbers a cell of about the right shape come near to the posterior; a network over
# cells shares its numbers out; of the others nothing is demanded, and their figures are shown by pytest -s
DEMANDS = {
    "gamma": Demand(kl=0.02, coverage=(0.82, 0.97), mean_coverage=(0.85, 0.95)),
    "lognormal": Demand(kl=0.02, coverage=(0.82, 0.97), mean_coverage=(0.85, 0.95)),
    "amortized-": Demand(mean_coverage=(0.80, 0.95)),
}
NOTHING = Demand()
GUIDES = [
    name for name, cls in pb.GUIDES.items() if cls.fits(constraints.positive) and cls.maximises == "elbo"
]  # a point has neither a KL to the posterior nor an interval


@cache
def simulate(seed):
    return pb.simulate(affinity="embedding", users=1000, items=500, interactions=100_000, seed=seed)


def study_of(simulation, guide):
    vectors = {name: simulation.truth[name] for name in ("user_vectors", "item_vectors")}
    return pb.Study(
        model={
            "affinity": {"name": "fixed", **vectors},
            "prior": {"name": "gamma", "source": "fixed", "concentration": CONCENTRATION},
        },
        guide={"name": guide},
        training={"validation": 0.0, "device": "cpu"},  # so that every row is a training row
    )


def log_posteriors(fit):
    """Return the exact log posterior density of log z given the fit's affinities, `(items, nodes)`."""
    events = fit.events
    with torch.no_grad():
        codes = [torch.from_numpy(part.astype(np.int64)) for part in (events.user, events.item)]
        x = fit.model.affinity.pairs(*codes, None, {}).mean.numpy()
    log_sigma = -np.logaddexp(0.0, -x)
    attention = -np.expm1(-np.exp(GRID))  # rate 1
    density = np.zeros((len(events.items), len(GRID)))
    order = np.argsort(events.item, kind="stable")
    ends = np.cumsum(fit.catalogue.count)
    for item, rows in enumerate(np.split(order, ends[:-1])):
        positive = events.label[rows] > 0
        density[item] = positive.sum() * np.log(attention)
        density[item] += np.log1p(-np.exp(log_sigma[rows[~positive]])[:, None] * attention).sum(0)
    density += CONCENTRATION * GRID - CONCENTRATION * np.exp(GRID)  # z ~ Gamma(a, a), in log z
    step = GRID[1] - GRID[0]
    highest = density.max(1, keepdims=True)
    return density - highest - np.log(np.exp(density - highest).sum(1, keepdims=True) * step)


def exact_kl(fit):
    """Return KL(q || posterior) of each item in nats, by quadrature over log z."""
    with torch.no_grad():
        q = fit.guide.popularity.posterior(torch.arange(len(fit.catalogue.items)))
        log_q = q.log_prob(torch.from_numpy(np.exp(GRID)).unsqueeze(1)).double().numpy().T
    log_q = log_q + GRID  # density of log z
    weight = np.exp(log_q) * (GRID[1] - GRID[0])
    assert np.abs(weight.sum(1) - 1).max() < 1e-3  # the grid holds all of q
    return (weight * (log_q - log_posteriors(fit))).sum(1)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
def test_popularity_is_recovered_where_affinities_are_known(guide, record_property):
    demand = next((demand for prefix, demand in DEMANDS.items() if guide.startswith(prefix)), NOTHING)
    coverage, divergence = [], []
    for seed in SEEDS if np.isfinite(demand.kl) else REPORTED:
        simulation = simulate(seed)
        fit = pb.fit(simulation.events, study=study_of(simulation, guide), progress=False)
        table = fit.popularity(interval=0.9).merge(simulation.truth["popularity"], on=["item", "period"])
        coverage.append(table["z"].between(table["lower"], table["upper"]).mean())
        kl = exact_kl(fit)
        divergence.append(kl.mean())
        # an independent quadrature of the same, on one fixed grid for all items, which cuts off long tails
        exact = accuracy(fit).table
        assert exact["kl"].to_numpy() == pytest.approx(kl, rel=2e-3, abs=1e-4)
    record_property("coverage", [float(each) for each in coverage])
    record_property("kl", [float(each) for each in divergence])
    shown = f"{guide}: coverage {np.round(coverage, 3).tolist()}, KL {np.round(divergence, 5).tolist()} nats"
    print(shown)  # noqa: T201  shown by pytest -s
    assert min(divergence) > 0, shown
    assert max(divergence) < demand.kl, shown
    assert demand.coverage[0] <= min(coverage) <= max(coverage) <= demand.coverage[1], shown
    assert demand.mean_coverage[0] <= np.mean(coverage) <= demand.mean_coverage[1], shown
