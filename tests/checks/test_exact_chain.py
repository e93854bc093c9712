"""The exact posterior of a walk's periods against sums over a grid of all periods at once."""

import numpy as np
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.checks.accuracy import accuracy
from pyro_popbias.checks.exact_chain import Surroundings
from pyro_popbias.checks.exact_posterior import exact_posterior
from pyro_popbias.checks.training_rows import TrainingRows

WALK = {"drift": "random-walk"}


def made(model, prior, *, rows=700, **sizes):
    sim = pb.simulate(
        model=model, users=40, items=6, interactions=rows, periods=3, prior=prior, drift=0.4, seed=2, **sizes
    )
    affinity = {"name": "fixed", "user_vectors": sim.truth["user_vectors"], "item_vectors": sim.truth["item_vectors"]}
    return pb.pair(sim.events, study=pb.Study(model={"name": model, "affinity": affinity, "prior": WALK}))


@pytest.mark.slow
@pytest.mark.parametrize(("model", "prior"), [("product", "lognormal"), ("additive", "normal")])
def test_the_posterior_of_each_period_is_the_sum_over_all_others(model, prior):
    pair = made(model, prior)
    cell = torch.arange(6)  # two items
    with local_parameters(), torch.no_grad():
        pair.model.prior.log_step = torch.tensor(0.4).double().log()
        q, observations = pair.guide.popularity.posterior(cell), TrainingRows(pair).of(cell.numpy())
        around = Surroundings(pair.model, pair.model.prior, q, observations, cell)
        found = exact_posterior(pair.model, around, q, observations, cell=cell).moments()
        rows = slice(3, 6)  # the second item
        y = torch.linspace(-7, 5, 161, dtype=torch.float64)
        z = y if prior == "normal" else y.exp()
        likelihood = observations.log_likelihood(pair.model, z.unsqueeze(-1).expand(-1, 6))[:, rows]
        grid = torch.stack(torch.meshgrid(z, z, z, indexing="ij"), dim=-1).reshape(-1, 3)
        of_prior = pair.model.prior.chain(cell[:3]).log_prob(grid).sum(-1)
        of_prior += 0.0 if prior == "normal" else grid.log().sum(-1)  # density of log z, in which the grid is even
        joint = of_prior.reshape(161, 161, 161)
        for t, shape in enumerate([(-1, 1, 1), (1, -1, 1), (1, 1, -1)]):
            joint = joint + likelihood[:, t].reshape(shape)
        weight = torch.softmax(joint.reshape(-1), 0).reshape(161, 161, 161)
        for t in range(3):
            marginal = weight.sum([other for other in range(3) if other != t])
            mean = (marginal * z).sum()
            sd = (marginal * (z - mean).square()).sum().sqrt()
            assert found[0][3 + t].item() == pytest.approx(mean.item(), rel=1e-5)
            assert found[1][3 + t].item() == pytest.approx(sd.item(), rel=1e-4)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:PB-C443")
def test_markov_comes_to_the_exact_posterior_where_independent_periods_do_not():
    sim = pb.simulate(users=300, items=60, interactions=30_000, periods=6, prior="lognormal", drift=0.3, seed=3)
    affinity = {"name": "fixed", "user_vectors": sim.truth["user_vectors"], "item_vectors": sim.truth["item_vectors"]}
    study = pb.Study(model={"affinity": affinity, "prior": WALK}, training={"epochs": 10})
    joined = accuracy(pb.fit(sim.events, study=study, progress=False))
    apart = accuracy(pb.fit(sim.events, study=study, guide="lognormal", progress=False))
    assert len(joined.table) == 60 * 6
    assert joined.mean_kl < joined.bounds.mean
    assert joined.ruled["kl"].quantile(0.99) < joined.bounds.high
    assert apart.mean_kl > 2 * joined.mean_kl
    assert joined.table["sd_ratio"].mean() == pytest.approx(1.0, abs=0.1)
    assert np.isfinite(joined.table.drop(columns=["item", "k_hat"])).all(axis=None)
