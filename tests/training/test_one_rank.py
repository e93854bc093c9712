"""A group of one process, in this one: what is exchanged comes back, and the fit is that of a process without a group."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

import pyro_popbias as pb
from pyro_popbias.assembly.pair import assemble
from pyro_popbias.training import loop
from pyro_popbias.training.environment import Launch
from pyro_popbias.training.gradient_exchange import distinct
from pyro_popbias.training.ownership import shared, side_of
from pyro_popbias.training.processes import Processes, SeveralProcesses
from pyro_popbias.training.ranks import Ranks

OF_CELLS = ("gamma", "lognormal", "markov", "point")  # guides whose tables have a row for each cell
SHORT = {"epochs": 1, "batch_size": 400, "phase_two": 1}
SPECIFICATION = importlib.util.spec_from_file_location("ranks_worker", Path(__file__).parent / "ranks_worker.py")
worker = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(worker)


@pytest.fixture(scope="module")
def ranks():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield Ranks.joined(Launch())
    dist.destroy_process_group()


def state(fit):
    return {**fit.model.state_dict(), **{f"guide.{name}": value for name, value in fit.guide.state_dict().items()}}


@pytest.mark.slow
@pytest.mark.parametrize("name", worker.STUDIES)
def test_a_fit_is_that_without_a_group(ranks, name, monkeypatch):
    """Both draw the same random numbers, those of the first process."""

    def alone(pair):
        return Processes(shared(pair, np.zeros(len(pair.events.items), dtype=int), ranks))

    found, expected = [], []
    for made, states in ((alone, expected), (lambda pair: SeveralProcesses(pair, ranks), found)):
        monkeypatch.setattr(loop, "processes_of", made)
        states.append(state(pb.fit(worker.log(name, 1_200), study=worker.study(name, **SHORT), progress=False)))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", worker.STUDIES)
def test_rows_of_tables_have_a_side(name):
    pair = assemble(worker.log(name, 600), worker.study(name, **SHORT))
    model, guide = pair.model.affinity, pair.guide
    sides = {key: side_of(pair, f"guide.popularity.{key}", each) for key, each in guide.popularity.named_parameters()}
    assert set(sides.values()) == {"cell" if worker.STUDIES[name][1] in OF_CELLS else None}
    for side in ("user", "item"):
        table = getattr(model, f"{side}_vectors_unconstrained", None)
        if table is not None:
            assert side_of(pair, f"model.affinity.{side}_vectors_unconstrained", table) == side
    assert side_of(pair, "model.affinity.intercept_unconstrained", model.intercept_unconstrained) is None


def test_what_the_first_rank_has(ranks):
    facts, tensors = {"epoch": 3, "elbo": -1.5}, {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1)}
    found, own = ranks.from_leader(facts, tensors)
    assert found == facts
    torch.testing.assert_close(own, tensors)


@pytest.mark.parametrize("size", [6, 1_000])
def test_distinct_codes(size):
    assert distinct(torch.tensor([5, 0, 5, 3, 0]), size).tolist() == [0, 3, 5]
