"""Users and items without training rows are scored at their prior, not at their random start."""

import pandas as pd
import pytest
import torch

import pyro_popbias as pb

pytestmark = pytest.mark.usefixtures("short_training")
AFFINITIES = {
    "point": {"name": "embedding", "dim": 4, "posterior": "point"},
    "mean-field": {"name": "embedding", "dim": 4, "posterior": "mean-field", "scale": "learned"},
    "factorization-machine": {"name": "factorization-machine", "dim": 4},
}


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_a_user_without_positives_is_scored_as_an_unseen_one(frame, affinity):
    frame.loc[frame["user"] == "u3", "label"] = 0
    events = pb.Interactions.from_frame(frame, label="label")
    study = pb.Study(
        model={"name": "pda", "affinity": AFFINITIES[affinity]},
        training={"epochs": 2, "batch_size": 200, "device": "cpu"},
    )
    fit = pb.fit(events, study=study, progress=False)
    items = [f"i{code}" for code in range(15)]
    known, unseen = (
        fit.predict(pd.DataFrame({"user": user, "item": items}), unseen="prior").drop(columns="user")
        for user in ("u3", "nobody")
    )
    pd.testing.assert_frame_equal(known, unseen, rtol=1e-5)
    if affinity == "point":
        row = fit.model.affinity.user_vectors[events.users.get_loc("u3")]
        assert torch.equal(row, torch.zeros(4))
