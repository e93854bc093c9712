"""`[training] compile`: the compiled objective is that of the programs, for every model and guide, and trains as they do."""

import shutil

import pandas as pd
import pyro
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import pair
from pyro_popbias.data.padded import pad
from pyro_popbias.errors import ConfigError, NumericalError, PopBiasError
from pyro_popbias.training import compiled, optimizer
from pyro_popbias.training.compiled import CompiledLoss
from pyro_popbias.training.loop import train

POINT = {"name": "embedding", "dim": 4, "scale": 0.5, "posterior": "point"}
MEAN_FIELD = {"name": "embedding", "dim": 4, "scale": 0.5}

pytestmark = [
    pytest.mark.skipif(
        not any(shutil.which(name) for name in compiled.COMPILERS), reason="there is no C++ compiler to compile with"
    ),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def events():
    return pb.simulate(users=60, items=30, interactions=3_000, seed=1).events


def made(events, model, guide, affinity=None, **training):
    how = {"epochs": 2, "batch_size": 512, "phase_two": 2, "device": "cpu", **training}
    study = pb.Study(model={"name": model, "affinity": affinity or MEAN_FIELD}, training=how)
    if (
        guide.endswith("normal")
        and not guide.endswith("lognormal")
        and not guide.startswith("auto")
        and model == "additive"
    ):
        study = study.replace("model", prior={"name": "normal"})
    return pair(events, study=study, guide=guide)


def gradients_of(each, batch, backward):
    with local_parameters(), pyro.validation_enabled(False):  # which refuses weights of 0, of what pads a batch
        loss = each.objective(each.model, each.guide)
        loss(batch)  # parameters of autoguides are made at the first call
        loss.zero_grad()
        torch.manual_seed(3)
        value = backward(loss)
    named = {name: each.grad for name, each in loss.named_parameters() if each.grad is not None}
    return value, {name: gradient.clone() for name, gradient in named.items()}


def eagerly(batch):
    def run(loss):
        value = loss(batch)
        value.backward()
        return value

    return run


@pytest.mark.parametrize("guide", pb.GUIDES)
@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=[] if name == "product" else [pytest.mark.slow]) for name in pb.MODELS]
)
def test_the_record_is_what_the_programs_do(events, model, guide, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda record, **_: record)
    try:
        each = made(events, model, guide)
    except PopBiasError as error:
        pytest.skip(f"no such pair: {error}")
    batch = next(each.batches())
    found, own = gradients_of(each, batch, lambda loss: CompiledLoss(each, loss).backward(batch))
    sizes = {"draws": 30 if len(batch.cell) <= 30 else len(batch.cell), "cells": 30, "users": 60, "items": 30}
    expected, theirs = gradients_of(each, batch, eagerly(pad(batch, **sizes)))
    torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=0)
    assert own.keys() == theirs.keys()
    for name, gradient in own.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-6, atol=1e-6 * float(gradient.abs().max()))


@pytest.mark.parametrize("affinity", [POINT, MEAN_FIELD], ids=["point", "mean-field"])
def test_large_tables_are_read_row_by_row(events, affinity, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda record, **_: record)
    monkeypatch.setattr(optimizer, "LARGE", 100)
    eager, own = histories(events, "product", "gamma", affinity)
    pd.testing.assert_frame_equal(own, eager, rtol=1e-6)


def test_a_large_table_of_cells_is_refused(events, monkeypatch):
    monkeypatch.setattr(optimizer, "LARGE", 50)
    with pytest.raises(ConfigError, match=r"PB-C492.*a table of 60 numbers"):
        train(made(events, "product", "gamma", POINT, compile=True))


def histories(events, model, guide, affinity):
    """Return the history of a training by the programs, on batches that need no padding, and of a compiled one."""
    for choice in (False, True):
        each = made(events, model, guide, affinity, compile=choice, phase_two=0, validation=0.0)
        yield train(each).history.drop(columns="seconds")


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "affinity"), [("product", POINT), ("additive", MEAN_FIELD)], ids=["point", "mean-field"]
)
def test_a_compiled_training_is_that_of_the_programs(events, model, affinity):
    eager, own = histories(events, model, "gamma", affinity)
    pd.testing.assert_frame_equal(own, eager, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [64, 500])
def test_walks_are_compiled_with_all_cells_of_their_items(batch_size, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda record, **_: record)
    walking = pb.simulate(
        users=40, items=12, interactions=1_000, periods=7, prior="lognormal", drift=0.3, seed=1
    ).events
    training = {"epochs": 2, "batch_size": batch_size, "phase_two": 1, "device": "cpu", "compile": True}
    prior = {"name": "lognormal", "drift": "random-walk"}
    study = pb.Study(
        model={"name": "product", "prior": prior, "affinity": POINT}, guide={"name": "markov"}, training=training
    )
    history = train(pair(walking, study=study)).history  # the record is compared with the programs
    assert history["elbo"].notna().all()


def test_a_compiler_that_does_not_work_is_refused(events, monkeypatch):
    def broken(record, **_):
        def run(*given):
            raise RuntimeError("no headers")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(ConfigError, match=r"PB-C493: .*RuntimeError no headers; leave compile out"):
        train(made(events, "product", "gamma", POINT, compile=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_compiled_code_that_is_not_finite_is_refused(events, monkeypatch, value):
    monkeypatch.setattr(torch, "compile", lambda record, **_: lambda *given: [value * each for each in record(*given)])
    with pytest.raises(NumericalError, match="PB-N020"):
        train(made(events, "product", "gamma", POINT, compile=True))


def test_compiled_code_that_differs_is_refused(events, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda record, **_: lambda *given: [1.001 * each for each in record(*given)])
    with pytest.raises(NumericalError, match="PB-N020: compiled code is off"):
        train(made(events, "product", "gamma", POINT, compile=True))


def test_what_depends_on_values_is_refused(events, monkeypatch):
    each = made(events, "product", "gamma", POINT, compile=True)
    program = type(each.model).observe

    def observe(model, batch, affinity, popularity):
        return program(model, batch, affinity if affinity.sum() > 0 else -affinity, popularity)

    monkeypatch.setattr(type(each.model), "observe", observe)
    with pytest.raises(ConfigError, match=r"PB-C491.*'product' with guide 'gamma'.*leave compile out"):
        train(each)


def test_a_machine_without_compiler_is_refused(events, monkeypatch):
    monkeypatch.setattr(compiled.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match=r"PB-C490.*none of g\+\+, clang\+\+, c\+\+"):
        train(made(events, "product", "gamma", compile=True))
