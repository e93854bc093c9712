"""Several processes train one pair: real ones, by gloo."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_popbias.assembly.pair import assemble
from pyro_popbias.errors import ConfigError
from pyro_popbias.training.environment import Launch
from pyro_popbias.training.ownership import owners

WORKER = Path(__file__).parent / "ranks_worker.py"
TORCHRUN = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture(scope="module")
def worker():
    specification = importlib.util.spec_from_file_location("ranks_worker", WORKER)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def environments(number):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    same = TORCHRUN | {"WORLD_SIZE": str(number), "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [{**os.environ, **same, "RANK": str(rank)} for rank in range(number)]


def facts(what, folder, number):
    """Return what each of several processes finds."""
    started = [
        subprocess.Popen([sys.executable, WORKER, what, folder], env=environment, stderr=subprocess.PIPE, text=True)
        for environment in environments(number)
    ]
    errors = [process.communicate(timeout=900)[1] for process in started]
    assert not any(process.returncode for process in started), "\n".join(errors)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(number)]


@pytest.fixture(scope="module", params=[2, 3])
def exact(request, tmp_path_factory):
    return facts("exact", tmp_path_factory.mktemp("exact"), request.param)


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    return facts("fits", tmp_path_factory.mktemp("fits"), 2)


@pytest.mark.slow
def test_the_sum_of_gradients_is_the_whole_gradient(exact):
    for name in ("point", "product, point"):  # without draws, which would be others
        far = exact[0][name]["gradient"]
        assert {"user", "item", "rows", "intercept", "concentration"} <= set("_".join(far).replace(".", "_").split("_"))
        for key, distance in far.items():
            assert distance < (1e-5 if "vectors" in key else 1e-12), key  # vectors are in single precision


@pytest.mark.slow
def test_the_mean_of_terms_is_the_whole_term(exact):
    for name in ("point", "product", "additive"):
        assert max(map(abs, exact[0][name]["terms"])) < 1e-12


@pytest.mark.nightly
@pytest.mark.slow
def test_all_processes_find_the_same_and_retry_together(exact):
    assert all(found == exact[0] for found in exact)
    assert exact[0]["retries"] == [False, True]


@pytest.mark.slow
def test_what_processes_cannot_share_is_refused(exact):
    number = len(exact)
    assert exact[0]["other seed"].startswith(
        "ConfigError PB-C472: the processes of this fit have different studies or data"
    )
    assert exact[0]["few"].startswith(f"ConfigError PB-C473: {number} processes have {360 // number}, ")
    assert exact[0]["update"].startswith("IncompatibleError PB-C471: an update of an earlier fit")


@pytest.mark.nightly
@pytest.mark.slow
def test_all_processes_end_with_the_same_fit(fits):
    assert fits[0] == fits[1]


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("name", ["product", "additive", "learned scales", "walk", "counts", "joint", "point"])
def test_two_processes_score_as_one(fits, worker, name):
    alone, together = worker.fitted(name), fits[0][name]
    assert together["score"] == pytest.approx(alone["score"], abs=1e-3)
    if alone["elbo"] == alone["elbo"]:  # not of points
        assert together["elbo"] == pytest.approx(alone["elbo"], rel=2e-3)


@pytest.mark.nightly
@pytest.mark.slow
def test_tables_that_are_updated_row_by_row_are_shared_too(fits, tmp_path):
    found = facts("large tables", tmp_path, 2)
    assert found[0] == found[1]
    for name, own in found[0].items():
        assert own["elbo"] == pytest.approx(fits[0][name]["elbo"], rel=1e-5), name


@pytest.mark.nightly
@pytest.mark.slow
def test_two_processes_score_as_one_with_sampled_negatives(fits, worker):
    alone, together = worker.fitted("negatives"), fits[0]["negatives"]
    assert together["score"] == pytest.approx(alone["score"], abs=2e-3)  # trained on other negatives


@pytest.mark.parametrize("number", [2, 3, 7])
def test_owners_have_about_as_many_rows(number):
    rows = np.random.default_rng(0).zipf(1.8, 500).clip(max=2_000)
    owner = owners(rows, number)
    loads = np.bincount(owner, weights=rows, minlength=number)
    assert loads.max() <= max(rows.max(), 1.01 * rows.sum() / number)
    assert (owner == owners(rows, number)).all()


def test_an_item_of_most_rows_has_a_rank_of_its_own():
    assert owners(np.array([1, 90, 3, 2, 0]), 2).tolist() == [1, 0, 1, 1, 1]


def test_shares_are_the_log(worker):
    pair = assemble(worker.log("walk"), worker.study("walk"))
    owner = owners(pair.rows.item_count.numpy(), 3)
    shares = [pair.rows.share(owner == k, number=k, shares=3, total=lambda total: total) for k in range(3)]
    assert sum(map(len, shares)) == len(pair.rows)
    assert {share.steps(500) for share in shares} == {pair.rows.steps(500)}
    for number, share in enumerate(shares):
        _, item, _ = share.codes()
        assert (owner[item] == number).all()
        assert len(list(share.batches(500, seed=0, epoch=0))) == share.steps(500)
    # every user, item and cell counts once in the mean over shares
    whole = pair.rows.whole()
    for side in ("users", "items"):
        own = [getattr(share.whole(), side) for share in shares]
        total = torch.zeros(1000).double()
        for unique in own:
            total.index_add_(0, unique.code, unique.weight / 3)
        expected = torch.zeros(1000).double().index_fill_(0, getattr(whole, side).code, 1.0)
        torch.testing.assert_close(total, expected)
    cells = torch.cat([share.whole().cell for share in shares])
    assert cells.sort().values.equal(whole.cell.sort().values)
    assert all(torch.equal(share.whole().weight / 3, torch.ones(len(share.whole().cell)).double()) for share in shares)


def test_turns_are_all_blocks_with_the_same_negatives(worker):
    rows = assemble(worker.log("negatives"), worker.study("negatives")).rows
    turns = [rows.in_turns(number=k, shares=2, total=lambda total: total) for k in range(2)]
    one, other = (list(turn.blocks(600)) for turn in turns)
    together = [each for pair in zip(one, other, strict=False) for each in pair] + one[len(other) :]
    for block, expected in zip(together, rows.blocks(600), strict=True):
        assert torch.equal(block.item, expected.item)


@pytest.mark.parametrize(
    ("environment", "expected"), [({}, Launch(0, 1)), ({"WORLD_SIZE": "1"}, Launch(0, 1)), (TORCHRUN, Launch(1, 2))]
)
def test_launch(environment, expected):
    found = Launch.here(environment)
    assert found == expected
    assert found.leads == (found.rank == 0)


@pytest.mark.parametrize(
    "broken", [{"RANK": ""}, {"RANK": "2"}, {"RANK": "-1"}, {"RANK": "one"}, {"WORLD_SIZE": "two"}, {"MASTER_ADDR": ""}]
)
def test_an_environment_that_is_not_torchruns_is_refused(broken):
    with pytest.raises(ConfigError, match=r"PB-C470: .* not how they meet: RANK="):
        Launch.here(TORCHRUN | broken)
