"""Fits that no training made, of every model and affinity."""

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb

AFFINITIES = {
    "point": {"name": "embedding", "dim": 3, "posterior": "point"},
    "mean-field": {"name": "embedding", "dim": 3, "posterior": "mean-field"},
    "linear": {"name": "linear"},
    "factorization-machine": {"name": "factorization-machine", "dim": 3},
}
USERS = 25


def trained_as(model, affinity, items=400):
    """Return a fit whose vectors and variances are random and far from their starts."""
    sim = pb.simulate(users=USERS, items=items, interactions=3_000 if items > 100 else 7 * items, seed=0)
    rng = np.random.default_rng(1)
    user_features = pd.DataFrame({"age": rng.normal(size=USERS)}, index=sim.events.users)
    item_features = pd.DataFrame(rng.normal(size=(items, 2)).round(1), index=sim.events.items, columns=["a", "b"])
    events = pb.Interactions.from_frame(
        sim.frame, label="label", user_features=user_features, item_features=item_features
    )
    pair = pb.pair(events, study=pb.Study(model={"name": model, "affinity": AFFINITIES[affinity]}))
    generator = torch.Generator().manual_seed(2)
    for module in (pair.model, pair.guide):
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            # standard deviations of rows between a hundredth and a few units
            parameter.data.add_(noise * (1.5 if "log_scale" in name and parameter.dim() else 0.7))
    return pb.Fit(pair.study, events.catalogue, pair.model, pair.guide, None, pd.DataFrame(), events)


@pytest.fixture(scope="session")
def random_fit():
    """Return the function: a model, one of `AFFINITIES` and a number of items to a fit."""
    return trained_as


@pytest.fixture(scope="module", params=AFFINITIES)
def affinity(request):
    return request.param
