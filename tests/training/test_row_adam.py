"""Row-wise Adam: large tables end where dense Adam leaves them, whichever rows a step reads, and go on after a checkpoint."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import Parameter

import pyro_popbias as pb
from pyro_popbias.assembly.pair import pair
from pyro_popbias.sparse_lookup import gather, rows_read_by
from pyro_popbias.training import optimizer
from pyro_popbias.training.loop import train
from pyro_popbias.training.optimizer import RowAdam

ROWS, COLUMNS, STEPS = 40, 3, 700
AFFINITIES = {
    "point": {"name": "embedding", "dim": 4, "scale": 0.5, "posterior": "point"},
    "mean-field": {"name": "embedding", "dim": 4, "scale": 0.5},
    "factorization-machine": {"name": "factorization-machine", "dim": 4, "scale": 0.5},
}


def table_of(seed):
    return Parameter(torch.from_numpy(np.random.default_rng(seed).standard_normal((ROWS, COLUMNS))))


def batches(seed):
    """Yield codes, some of them twice; of the last rows a few times only, long after each other."""
    rng = np.random.default_rng(seed)
    for step in range(STEPS):
        code = rng.integers(ROWS - 5, size=8)
        yield torch.from_numpy(np.append(code, ROWS - 1 - step % 5) if step % 120 < 5 else code)


def steps_of(adam, table, *, settle=(), weight=10.0):
    """Take all steps towards random targets, at rates that vary; gradients are as large as the weight."""
    generator = torch.Generator().manual_seed(3)
    for step, code in enumerate(batches(1)):
        target = torch.randn(len(code), COLUMNS, generator=generator, dtype=torch.float64)
        adam.zero_grad()
        with rows_read_by(adam.readers):
            loss = (gather(table, code) - target).square().sum() * weight
        loss.backward()
        adam.step(1.0 - 0.5 * (step % 7) / 7)
        if step in settle:
            adam.settle()
    adam.settle()
    return table.detach()


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0.95, 0.99])
@pytest.mark.parametrize("settle", [(), (3, 400)])
def test_rows_end_where_dense_adam_leaves_them(memory, settle, monkeypatch):
    dense = table_of(0)
    expected = steps_of(RowAdam([([dense], 0.05, memory)]), dense)
    monkeypatch.setattr(optimizer, "LARGE", 10)
    table = table_of(0)
    adam = RowAdam([([table], 0.05, memory)])
    assert len(adam.tables) == 1
    torch.testing.assert_close(steps_of(adam, table, settle=settle), expected, rtol=0, atol=1e-7)


@pytest.mark.slow
def test_gradients_near_epsilon_move_rows_as_in_dense_adam(monkeypatch):
    dense = table_of(0)
    expected = steps_of(RowAdam([([dense], 0.05, 0.99)]), dense, weight=0.001)
    monkeypatch.setattr(optimizer, "LARGE", 10)
    table = table_of(0)
    found = steps_of(RowAdam([([table], 0.05, 0.99)]), table, weight=0.001)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_row_without_gradient_moves_by_its_momentum(monkeypatch):
    monkeypatch.setattr(optimizer, "LARGE", 10)
    table = table_of(0)
    start, adam = table.detach().clone(), RowAdam([([table], 0.05, 0.99)])
    for code in ([0, 1], [1], [1], [1]):
        adam.zero_grad()
        with rows_read_by(adam.readers):
            loss = gather(table, torch.tensor(code)).sum()
        loss.backward()
        adam.step()
    adam.settle()
    move = (start - table.detach())[:, 0]
    # torch's dense Adam: .05 sum_j .9^j / (1 - .9^(j + 1)) / sqrt(.99^j / (1 - .99^(j + 1))) * .1 / sqrt(.01)
    j = np.arange(4)
    expected = 0.05 * np.sum(0.9**j * 0.1 / (1 - 0.9 ** (j + 1)) / np.sqrt(0.99**j * 0.01 / (1 - 0.99 ** (j + 1))))
    assert float(move[0]) == pytest.approx(expected, rel=1e-6)
    assert float(move[1]) == pytest.approx(4 * 0.05, rel=1e-6)
    assert not move[2:].any()


def test_two_reads_of_a_row_add_their_gradients(monkeypatch):
    dense = table_of(0)
    rows = table_of(0)
    one, two = torch.tensor([4, 2]), torch.tensor([2, 7])
    for table, limit in ((dense, 1e9), (rows, 10)):
        monkeypatch.setattr(optimizer, "LARGE", limit)
        adam = RowAdam([([table], 0.05, 0.99)])
        for factor in (1.0, -3.0):
            adam.zero_grad()
            with rows_read_by(adam.readers):
                loss = gather(table, one).square().sum() + factor * gather(table, two).sum()
            loss.backward()
            adam.step()
        adam.settle()
    torch.testing.assert_close(rows, dense, rtol=0, atol=1e-7)


def events():
    return pb.simulate(users=60, items=30, interactions=3_000, seed=1).events


def study(name, **training):
    how = {"epochs": 3, "batch_size": 256, "phase_two": 2, "device": "cpu", **training}
    return pb.Study(model={"affinity": AFFINITIES[name]}, training=how)


def history_of(name, limit, monkeypatch):
    monkeypatch.setattr(optimizer, "LARGE", limit)
    made = pair(events(), study=study(name))
    return made, train(made).history.drop(columns="seconds")


@pytest.mark.slow
@pytest.mark.parametrize("name", AFFINITIES)
def test_a_training_is_that_of_dense_adam(name, monkeypatch):
    dense, of_dense = history_of(name, 1e9, monkeypatch)
    rows, of_rows = history_of(name, 10, monkeypatch)
    pd.testing.assert_frame_equal(of_rows, of_dense, rtol=1e-6)
    for own, other in zip(rows.model.parameters(), dense.model.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)  # vectors are float32


@pytest.mark.slow
def test_a_checkpoint_goes_on_bit_for_bit(monkeypatch):
    monkeypatch.setattr(optimizer, "LARGE", 10)
    kept = []
    whole, again = (pair(events(), study=study("mean-field")) for _ in range(2))
    train(whole, save=lambda snapshot: kept.append(copy.deepcopy(snapshot)))
    train(again, resume=kept[1])
    for one, other in zip(whole.guide.parameters(), again.guide.parameters(), strict=True):
        assert torch.equal(one, other)
