"""Every model with every guide on a CUDA device: fitted, asked everything, saved and loaded on the CPU."""

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.errors import NumericalError
from pyro_popbias.storage.packed import Packed

DEVICE = "cuda"
pytestmark = [
    pytest.mark.usefixtures("short_training"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch finds none here"),
]
PAIRS = pb.variants().query("allowed").drop_duplicates(["model", "guide"])[["model", "prior", "guide"]]
AFFINITIES = ("point", "mean-field")


@pytest.fixture(scope="module", params=PAIRS.itertuples(index=False), ids=lambda row: f"{row.model}-{row.guide}")
def fit(request, make_frame, short_training):
    row, frame = request.param, make_frame()
    if row.model == "pda":  # a model of positives
        frame = frame.query("label == 1").drop(columns="label")
    events = pb.Interactions.from_frame(frame, label=None if row.model == "pda" else "label")
    study = pb.Study(
        model={"name": row.model, "prior": {"name": row.prior}, "affinity": {"name": "embedding", "dim": 2}},
        guide={"name": row.guide},
        training={"epochs": 2, "batch_size": 200, "device": DEVICE},
    )
    return pb.fit(events, study=study, progress=False)


@pytest.fixture
def pairs(fit):
    return pd.DataFrame({"user": fit.catalogue.users[:10], "item": fit.catalogue.items[:10]})


def test_fitted_there(fit):
    assert fit.guide.device.type == DEVICE
    assert {each.device.type for part in (fit.model, fit.guide) for each in part.buffers()} <= {DEVICE}
    assert fit.history["elbo"].notna().any() or fit.history["log_joint"].notna().any()


def test_tables(fit):
    assert np.isfinite(fit.popularity()["mean"]).all()
    assert len(fit.parameters())


@pytest.mark.parametrize("popularity", ["population", "prior", "posterior", "none", 1.0])
def test_predict(fit, pairs, popularity):
    assert np.isfinite(fit.predict(pairs, popularity=popularity)["score"]).all()


@pytest.mark.parametrize("popularity", ["population", "posterior"])
def test_recommend(fit, popularity):
    found = fit.recommend(k=3, popularity=popularity, p_top_k=popularity == "population", exclude_seen=False)
    assert found.groupby("user").size().eq(3).all()


@pytest.mark.filterwarnings("ignore:PB-D370")  # rows of the test may be trained on
def test_evaluate_and_compare(fit, make_frame):
    frame = make_frame(seed=3, rows=400)
    label = None if fit.model.pairwise else "label"
    test = pb.Interactions.from_frame(frame if label else frame.query("label == 1").drop(columns="label"), label=label)
    assert fit.evaluate(test, k=3, candidates="test")["value"].notna().any()
    assert len(pb.compare({"one": fit}, test=test, metrics=("ndcg@3",), candidates="test")) == 1


def test_check(fit):
    assert str(fit.check())


def test_to_arviz(fit):
    posterior = fit.to_arviz(draws=5, groups=("posterior", "prior"))["posterior"]
    assert np.isfinite(posterior["popularity"].values).all()


def test_saved_there_and_loaded_on_the_cpu(fit, pairs, tmp_path):
    fit.save(tmp_path / "run")
    loaded = pb.load(tmp_path / "run")
    assert loaded.guide.device.type == "cpu"
    there, here = fit.predict(pairs)["score"], loaded.predict(pairs)["score"]
    np.testing.assert_allclose(here, there, rtol=1e-5)  # vectors are float32


def test_packed_and_unpacked_there(fit):
    found = Packed.of(fit).unpacked(fit.catalogue, fit.events)
    assert found.guide.device.type == DEVICE


@pytest.mark.parametrize("posterior", AFFINITIES)
def test_the_same_twice(make_frame, posterior):
    events = pb.Interactions.from_frame(make_frame(), label="label")
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 2, "posterior": posterior}},
        training={"epochs": 2, "batch_size": 200, "device": DEVICE},
    )
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        one, other = (pb.fit(events, study=study, progress=False).popularity() for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(before)
    pd.testing.assert_frame_equal(one, other, check_exact=True)


@pytest.mark.parametrize("posterior", AFFINITIES)
def test_compiled_code_that_draws_other_numbers_is_refused(make_frame, posterior):
    events = pb.Interactions.from_frame(make_frame(), label="label")
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 2, "posterior": posterior}},
        training={"epochs": 2, "batch_size": 200, "device": DEVICE, "compile": True},
    )
    with pytest.raises(NumericalError, match="PB-N020: compiled code is off by"):
        pb.fit(events, study=study, progress=False)
