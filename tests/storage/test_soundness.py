"""What contradicts itself in a fit that was read from files of different runs, each contradiction by itself."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.errors import CorruptCheckpointError
from pyro_popbias.storage.soundness import LOOKED_AT, check_sound


@pytest.fixture(scope="module")
def fit():
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 2}},
        training={"epochs": 1, "batch_size": 150, "phase_two": 0, "device": "cpu"},
    )
    return pb.fit(pb.simulate(users=20, items=15, interactions=300).events, study=study, progress=False)


def table(fit):
    return fit.popularity().to_csv(index=False).encode()


def refused(fit, words, content=None):
    with pytest.raises(CorruptCheckpointError, match=f"PB-R156: the files of run do not go together: .*{words}"):
        check_sound(fit, content, Path("run"))


def changed(fit, **parts):
    other = copy.copy(fit)
    vars(other).update(parts)
    return other


def test_a_fit_goes_together(fit):
    check_sound(fit, table(fit), Path("run"))
    check_sound(changed(fit, events=None), table(fit), Path("run"))


def test_rows(fit):
    fewer = fit.events.take(np.arange(299))
    refused(changed(fit, events=fewer), "299 rows are not the 300 that were counted")


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("count", lambda count: count[:-1], r"count has shape \(14,\) and not \(15,\)"),
        ("count", lambda count: count - 300, "count has negative numbers"),
        ("positives", lambda positives: positives + 300, "more positives than rows"),
    ],
)
def test_catalogue(fit, name, values, words):
    other = replace(fit.catalogue, **{name: values(getattr(fit.catalogue, name))})
    refused(changed(fit, catalogue=other), words)


@pytest.mark.parametrize("name", ["users", "items"])
def test_ids_twice(fit, name):
    ids = getattr(fit.catalogue, name)
    twice = pd.Index([*ids[:-1], ids[0]], dtype=ids.dtype)
    refused(
        changed(fit, catalogue=replace(fit.catalogue, **{name: twice})), f"ids of {name} are missing, or there twice"
    )


def test_parameters(fit):
    model = copy.deepcopy(fit.model)
    with torch.no_grad():
        model.affinity.intercept_unconstrained.fill_(torch.nan)
    refused(changed(fit, model=model), "affinity.intercept_unconstrained is not finite")


@pytest.mark.parametrize("code", [0, 14])
def test_popularity(fit, code):
    assert len(fit.catalogue.items) == 15 <= LOOKED_AT
    other = fit.popularity()
    other.loc[code, "mean"] *= 1.01
    refused(fit, "parameters and popularity.csv are of different fits", other.to_csv(index=False).encode())


def test_history(fit):
    refused(changed(fit, history=fit.history.head(0)), "history.csv has no epochs")
