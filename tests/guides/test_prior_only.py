"""Models without labels: their posterior is their prior, so that the least loss of a guide is known."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.distributions import LogNormal, Normal, constraints, kl_divergence, transform_to

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.models import PopularityModel

STANDARD_ERRORS = 4
DRAWS = 100  # of a sampled KL
FLAT = 1e-9  # slope at which the search for the nearest member ends; its value is then right to about the square
ROUNDING = 1e-12  # of a KL in float64: some thousands of roundings of terms near 1
TABLE = pb.variants().query("allowed").drop_duplicates(["prior", "guide"])[["model", "prior", "guide"]]


def variants(kl):
    """Return the pairs of prior and guide whose KL is analytic or sampled, each with a model; a point has no KL."""
    rows = TABLE[[pb.GUIDES[name].kl == kl and pb.GUIDES[name].maximises == "elbo" for name in TABLE["guide"]]]
    return rows.to_numpy().tolist()


def least_kl(family, prior):
    """Return min KL(member of the family || prior), found by a general optimiser from an arbitrary member."""
    supports = family.arg_constraints.values()

    def value_and_slope(numbers):
        free = torch.tensor(numbers, requires_grad=True)
        member = family(*(transform_to(support)(number) for support, number in zip(supports, free, strict=True)))
        value = kl_divergence(member, prior)
        return value.item(), torch.autograd.grad(value, free)[0].numpy()

    start = np.full(len(supports), 0.3)
    return minimize(value_and_slope, start, jac=True, method="BFGS", options={"gtol": FLAT}).fun


@pytest.fixture
def unlabelled(events, monkeypatch):
    """Return a function: model, prior and guide to their pair, with a likelihood that says nothing."""
    for cls in {PopularityModel, *pb.MODELS.values()}:
        monkeypatch.setattr(cls, "observe", lambda self, batch, affinity, popularity: batch.label)

    def make(model, prior, guide):
        points = {"name": "embedding", "dim": 2, "posterior": "point", "user_bias": False}
        declared = {"name": model, "prior": {"name": prior}, "affinity": points}
        training = {"batch_size": 100, "validation": 0.0, "device": "cpu"}
        return pb.pair(events, study=pb.Study(model=declared, guide={"name": guide}, training=training))

    with local_parameters(), torch.random.fork_rng():
        torch.manual_seed(0)
        yield make


def losses(pair, draws=1):
    """Return losses of all cells without the log prior of the model's own parameters, which no guide can change."""
    loss, batch = pair.objective(pair.model, pair.guide), pair.whole()
    with torch.no_grad():
        return torch.stack([loss(batch) + pair.objective.latest.log_prior for _ in range(draws)])


def train_from_elsewhere(pair, epochs=10):
    """Move the guide off its start, and train it for a while."""
    loss = pair.objective(pair.model, pair.guide)
    loss(pair.whole())  # an autoguide has no parameters before its first call
    parameters = list(pair.guide.popularity.parameters())
    with torch.no_grad():
        for parameter in parameters:
            parameter += 0.3 * torch.randn_like(parameter)
    optimizer = torch.optim.Adam(parameters, lr=0.03)
    for epoch in range(epochs):
        for batch in pair.batches(epoch=epoch):
            optimizer.zero_grad()
            loss(batch).backward()
            optimizer.step()


@pytest.mark.parametrize(("model", "prior", "guide"), variants("analytic"))
def test_the_loss_is_least_at_the_start(unlabelled, model, prior, guide):
    pair = unlabelled(model, prior, guide)
    distribution, cells = pair.model.prior.population(), len(pair.whole().cell)
    real = distribution.support is constraints.real
    family = pb.GUIDES[guide].family or (Normal if real else LogNormal)  # of a guide whose family depends on the prior
    least = 0.0 if family is type(distribution) else least_kl(family, distribution)
    (start,) = losses(pair)
    assert abs(start - cells * least) <= cells * ROUNDING
    train_from_elsewhere(pair)
    (end,) = losses(pair)
    assert end >= start - cells * ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize(("model", "prior", "guide"), variants("sampled"))
@pytest.mark.parametrize("move", [lambda pair: None, train_from_elsewhere], ids=["start", "trained"])
def test_a_sampled_kl_is_not_below_zero(unlabelled, move, model, prior, guide):
    pair = unlabelled(model, prior, guide)
    move(pair)
    found, cells = losses(pair, DRAWS).double(), len(pair.whole().cell)
    # draws may be float32, and their log densities are a few nats
    rounding = 10 * torch.finfo(torch.float32).eps
    assert found.mean() >= -STANDARD_ERRORS * found.std() / DRAWS**0.5 - cells * rounding
