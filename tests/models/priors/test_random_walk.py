"""The prior of a popularity that walks from period to period, and how it is declared."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import LogNormal, kl_divergence

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.errors import ConfigError, DataWarning, IncompatibleError
from pyro_popbias.models import PRIORS, LogNormalPrior, NormalPrior, RandomWalkPrior

WALK = {"drift": "random-walk"}
LOCAL = [name for name, cls in pb.GUIDES.items() if not cls.draws_all_cells and name != "exponential"]
POSITIVE = [name for name in LOCAL if pb.GUIDES[name].fits(LogNormal.support)]


@pytest.fixture(scope="module")
def events():
    return pb.simulate(users=40, items=12, interactions=900, periods=3, prior="lognormal", drift=0.4, seed=1).events


def walk(first=lambda: LogNormalPrior(2.0), *, items=2, periods=4, step=0.5):
    with local_parameters():
        prior = RandomWalkPrior(first(), items * periods, periods)
        prior.log_step = torch.tensor(step, dtype=torch.float64).log()
    return prior


@pytest.mark.parametrize("first", [lambda: LogNormalPrior(2.0), NormalPrior])
def test_cells_by_themselves_are_the_marginals_of_the_walk(first):
    with local_parameters(), torch.no_grad():
        prior, cell = walk(first), torch.arange(8)
        one, all_of_them = prior.distribution(cell), prior.chain(cell).marginals
        torch.testing.assert_close((one.loc, one.scale), (all_of_them.loc, all_of_them.scale))
        assert (one.scale[1:4] > one.scale[:3]).all()
        population = prior.population()
        torch.testing.assert_close((one.loc[0], one.scale[0]), (population.loc, population.scale))


def test_the_first_period_has_mean_1():
    with local_parameters(), torch.no_grad():
        assert walk().distribution(torch.tensor([0, 4])).mean.tolist() == pytest.approx([1.0, 1.0])


def test_no_independent_distributions_are_nearer_than_the_starts():
    with local_parameters():
        prior, cell = walk(), torch.arange(8)
        with torch.no_grad():
            p, start = prior.chain(cell), prior.starts()
        loc, log_scale = (part.clone().requires_grad_() for part in (start.loc.expand(8), start.scale.log()))
        kl_divergence(LogNormal(loc, log_scale.exp()), p).sum().backward()
    torch.testing.assert_close(loc.grad, torch.zeros_like(loc))
    torch.testing.assert_close(log_scale.grad, torch.zeros_like(loc))


def test_a_forecast_widens_with_its_horizon():
    with local_parameters(), torch.no_grad():
        prior, q = walk(step=0.5), LogNormal(torch.tensor([0.2]).double(), torch.tensor([0.3]).double())
        for horizon in (1, 2, 7):
            found = prior.after(q, horizon)
            assert found.loc.item() == pytest.approx(0.2)
            assert found.scale.item() == pytest.approx((0.09 + horizon * 0.25) ** 0.5)


@pytest.mark.filterwarnings("ignore:PB-C443")
@pytest.mark.parametrize("guide", POSITIVE)
def test_the_kl_of_an_epoch_is_that_of_all_rows(events, guide):
    study = pb.Study(model={"prior": WALK}, guide={"name": guide}, training={"batch_size": 64, "validation": 0.0})
    made = pb.pair(events, study=study)
    with local_parameters(), torch.no_grad():
        for parameter in made.guide.popularity.parameters():  # away from the start, so that all cells differ
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
        loss = made.objective(made.model, made.guide)

        def kl_of(batch):
            affinity = torch.zeros(len(batch.user), dtype=torch.float64)
            loss(replace(batch, affinity=affinity))
            return float(made.objective.latest.kl)

        epoch = [kl_of(batch) for batch in made.batches()]
        assert np.mean(epoch) == pytest.approx(kl_of(made.whole()), rel=1e-9)


def test_batches_hold_all_periods_of_their_items(events):
    made = pb.pair(events, study=pb.Study(model={"prior": WALK}, training={"batch_size": 32}))
    batch = next(made.batches())
    assert batch.cell.reshape(-1, 3).tolist() == [
        [3 * item, 3 * item + 1, 3 * item + 2] for item in batch.item.unique()
    ]
    several = next(made.rows.with_draws(16).batches(10_000, seed=0, epoch=0))
    assert len(several.cell) > len(several.cell.unique())
    for rows in (batch, several):
        torch.testing.assert_close(rows.cell[rows.cell_index] // 3, rows.item)
    whole = made.whole()
    torch.testing.assert_close(whole.weight, torch.ones_like(whole.weight))


def test_a_walk_brings_its_own_prior_and_guide(events):
    of_product = pb.pair(events, study=pb.Study(model={"prior": WALK})).study
    assert (of_product.model.prior.name, of_product.guide.name) == ("lognormal", "markov")
    of_additive = pb.pair(events, study=pb.Study(model={"name": "additive", "prior": WALK})).study
    assert (of_additive.model.prior.name, of_additive.guide.name) == ("normal", "markov")
    with pytest.warns(DataWarning, match="PB-C443: guide 'gamma' takes the periods of an item as independent"):
        chosen = pb.pair(events, guide="gamma", study=pb.Study(model={"prior": WALK})).study
    assert chosen.guide.name == "gamma"


@pytest.mark.parametrize("name", [name for name in PRIORS if name not in ("lognormal", "normal")])
def test_priors_that_do_not_walk_are_refused(name):
    with pytest.raises(ConfigError, match="goes with the prior lognormal"):
        pb.Study(model={"prior": {"name": name, **WALK}})


def test_a_walk_needs_periods_and_one_popularity_per_cell(events):
    with pytest.raises(ConfigError, match=r"PB-C441: .* needs two periods or more, and the data have one"):
        pb.pair(events.with_periods(1), study=pb.Study(model={"prior": WALK}))
    with pytest.raises(IncompatibleError, match="PB-C442: drift = 'random-walk' joins the periods"):
        pb.pair(events, study=pb.Study(model={"prior": WALK, "latent": "interaction"}))
    with pytest.raises(IncompatibleError, match="PB-C442: guide 'markov' joins the periods"):
        pb.pair(events, guide="markov", study=pb.Study(model={"latent": "interaction"}))
    with pytest.raises(ConfigError, match="drift goes with source = 'counts'"):
        pb.Study(model={"prior": {"name": "lognormal", "drift": 0.3}})
