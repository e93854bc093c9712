import numpy as np
import pytest
import torch
from torch.distributions import LogNormal, Normal

import pyro_popbias as pb
from pyro_popbias.assembly import compatibility
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.errors import ConfigError, IncompatibleError
from pyro_popbias.guides import CellStatistics, JointCellsGuide

WHOLE = [name for name, cls in pb.GUIDES.items() if cls.draws_all_cells]
PRIORS = ("gamma", "normal")


def population(prior):
    return pb.models.PRIORS[prior]().population()


def made(guide, prior, cells=9):
    with local_parameters():
        return pb.GUIDES[guide].build(population(prior), CellStatistics(np.ones(cells), np.ones(cells)))


def moved(q):
    with torch.no_grad():
        for parameter in q.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return q


def test_pyros_autoguides_are_whole():
    assert WHOLE == ["auto-normal", "auto-low-rank"]
    assert all(issubclass(pb.GUIDES[name], JointCellsGuide) and pb.GUIDES[name].kl == "sampled" for name in WHOLE)


@pytest.mark.slow
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("guide", WHOLE)
def test_posteriors_are_the_marginals_of_the_draws(guide, prior):
    q = moved(made(guide, prior))
    with local_parameters(), torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        draws = torch.stack([q(None) for _ in range(4000)])
    distribution = q.posterior(torch.arange(9))
    assert isinstance(distribution, LogNormal if prior == "gamma" else Normal)
    z, base = (draws.log(), distribution.base_dist) if prior == "gamma" else (draws, distribution)
    error = base.stddev / len(z) ** 0.5
    assert ((z.mean(0) - base.mean).abs() <= 4 * error).all()
    assert ((z.std(0) / base.stddev - 1).abs() <= 4 / (2 * len(z)) ** 0.5).all()


@pytest.mark.slow
def test_low_rank_correlates_cells():
    q = moved(made("auto-low-rank", "normal"))
    with local_parameters(), torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        found = torch.corrcoef(torch.stack([q(None) for _ in range(2000)]).T) - torch.eye(9)
    assert found.abs().max() > 0.3


@pytest.mark.parametrize("guide", WHOLE)
def test_parameters_are_there_from_the_start_and_counted(guide):
    q = made(guide, "gamma", cells=100)
    assert sum(value.numel() for value in q.parameters()) == type(q).size(100)


def test_auto_normal_starts_where_the_lognormal_guide_does():
    start = pb.GUIDES["lognormal"].start(population("gamma"))
    q = made("auto-normal", "gamma").posterior(torch.arange(9))
    torch.testing.assert_close(torch.stack([q.loc, q.scale.log()], dim=-1), start.expand(9, 2))


@pytest.mark.parametrize("guide", WHOLE)
def test_every_batch_carries_every_cell(events, guide):
    pair = pb.pair(events, guide=guide, study=pb.Study(training={"batch_size": 30}))
    whole = pair.whole()
    for batch in (whole, *pair.batches()):
        assert batch.cell.tolist() == list(range(events.cells))
        assert (batch.weight == 1).all()
        assert torch.equal(batch.cell[batch.cell_index], batch.item)


@pytest.mark.parametrize("guide", WHOLE)
def test_large_guides_are_refused_with_their_size(events, guide, monkeypatch):
    monkeypatch.setattr(compatibility, "LARGEST_WHOLE", 1000)
    with pytest.raises(ConfigError, match=rf"PB-C104: guide '{guide}' draws all 15 cells .* GiB .*: gamma, "):
        pb.pair(events, guide=guide)


def test_a_million_cells_are_too_many_for_a_low_rank():
    with pytest.raises(ConfigError, match=r"PB-C104: .* 1000000 cells .* learns 1002000000 numbers: about 30\.\d GiB"):
        compatibility.check_memory("auto-low-rank", 1_000_000, "item")
    compatibility.check_memory("auto-normal", 1_000_000, "item")
    compatibility.check_memory("gamma", 10**9, "item")


@pytest.mark.parametrize("guide", WHOLE)
def test_a_popularity_a_row_is_refused(events, guide):
    with pytest.raises(IncompatibleError, match=rf"PB-C103: guide '{guide}' draws one popularity per cell"):
        pb.pair(events, guide=guide, study=pb.Study(model={"latent": "interaction"}))
