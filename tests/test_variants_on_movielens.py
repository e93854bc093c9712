"""Every variant that the table allows, for a few epochs on real ratings."""

import numpy as np
import pytest

import pyro_popbias as pb
from pyro_popbias.training.loop import train
from pyro_popbias.training.second_phase import PhaseTwo

ROWS, EPOCHS = 20_000, 6
VARIANTS = pb.variants().query("allowed")[["model", "prior", "guide"]].to_numpy().tolist()
MODELS_ONCE = {
    ("gamma", "gamma"),
    ("lognormal", "lognormal"),
    ("normal", "normal"),
}  # prior and guide; others take half an hour


def marked(variant):
    """Return a variant, to be tried at night unless it is one of a few of each model."""
    once = tuple(variant[1:]) in MODELS_ONCE
    return pytest.param(*variant, marks=[pytest.mark.slow] if once else [pytest.mark.slow, pytest.mark.nightly])


@pytest.fixture(scope="module")
def ratings(movielens):
    """Return a random sample of the ratings, liked from 4 stars on."""
    log = pb.read_movielens(movielens, positive_if=">=4")
    rows = np.sort(np.random.default_rng(0).choice(len(log), size=ROWS, replace=False))
    return pb.Interactions.from_frame(log.to_frame().iloc[rows], label="label")


@pytest.mark.parametrize(("model", "prior", "guide"), [marked(variant) for variant in VARIANTS])
def test_every_allowed_variant_gains_on_ratings(ratings, model, prior, guide):
    study = pb.Study(
        model={"name": model, "prior": {"name": prior}, "affinity": {"name": "embedding", "dim": 8}},
        guide={"name": guide},
        training={"epochs": EPOCHS, "batch_size": 1024, "device": "cpu"},
    )
    history = train(pb.pair(ratings, study=study), phase_two=PhaseTwo(steps=5, cycle=3, most_cycles=2)).history
    objective = pb.GUIDES[guide].maximises
    unknown = [] if objective == "elbo" else ["elbo", "kl"]
    assert history[unknown].isna().all(axis=None)
    assert np.isfinite(history.drop(columns=unknown).to_numpy(dtype=float)).all()
    assert sorted(history["phase"].unique()) == [1, 2]
    first, *_, last = history.query("phase == 1")[objective]
    assert last > first
