"""The sum of calibrated probabilities over the catalogue meets the number of positives, group by group of users by activity."""

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb

GROUPS = 5


@torch.no_grad()
def sums(fit, *, calibrated):
    """Return the sum over the catalogue of each group's probabilities under "posterior" over its number of positives."""
    scorer, users = fit.scorer("posterior", calibrated=calibrated), np.arange(len(fit.catalogue.users))
    ranking, total = scorer.ranking(), []
    for block in np.array_split(users, max(1, len(users) // 100)):
        table = fit.model.affinity.table(torch.from_numpy(block), fit.guide.weights())
        total.append(ranking.own(scorer._calibrated(table, torch.from_numpy(block))).sum(1).numpy())
    n, total = fit.catalogue.user_items, np.concatenate(total)
    groups = np.array_split(np.argsort(n, kind="stable"), GROUPS)
    return np.array([total[group].sum() / n[group].sum() for group in groups])


def standard_errors(fit):
    """Return the relative standard error of each group's number of positives."""
    n = fit.catalogue.user_items
    return np.array([n[group].sum() ** -0.5 for group in np.array_split(np.argsort(n, kind="stable"), GROUPS)])


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True], ids=["once", "users come back"])
@pytest.mark.parametrize("name", ["product", "inverse-logistic"])
def test_sums_meet_the_number_of_positives(name, again):
    sim = pb.simulate(model=name, users=200, items=100, interactions=6_000, labels="positives", seed=0)
    frame = sim.frame
    if again:  # more often, the more active they are
        number = np.minimum(1 + frame.groupby("user")["item"].transform("size") // 8, 4)
        frame = frame.loc[frame.index.repeat(number)]
    study = pb.Study(
        model={"name": name, "affinity": {"name": "embedding", "dim": 2}},
        training={"epochs": 8, "batch_size": 1_000, "phase_two": 12, "device": "cpu"},
    )
    fit = pb.fit(pb.Interactions.from_frame(frame), study=study, progress=False)
    assert (np.abs(sums(fit, calibrated=True) - 1) < 2 * standard_errors(fit)).all()
    assert (sums(fit, calibrated=False) - 1 > 5 * standard_errors(fit)).all()


@pytest.mark.slow
def test_sums_are_those_of_a_log_as_long_as_the_whole_with_periods():
    sim = pb.simulate(users=200, items=100, interactions=9_000, periods=3, labels="positives", seed=0)
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 2}},
        training={"epochs": 8, "batch_size": 1_000, "phase_two": 12, "device": "cpu"},
    )
    fit = pb.fit(sim.events, study=study, progress=False)
    assert sim.events.periods == 3
    # the last period's popularity is not that of all three
    assert (np.abs(sums(fit, calibrated=True) - 1) < 0.1).all()


@pytest.mark.nightly
@pytest.mark.slow
def test_sums_of_real_positives(movielens):
    ratings = pd.read_csv(movielens / "ratings.csv").query("rating >= 4")
    events = pb.Interactions.from_frame(ratings, user="userId", item="movieId")
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 16, "user_bias": True}},
        training={"epochs": 20, "device": "cpu"},
    )
    fit = pb.fit(events, study=study, progress=False)
    found = sums(fit, calibrated=True)
    assert (np.abs(found[1:] - 1) < 0.08).all()
    # the vectors of users with about ten positives are uncertain, which adds to the mean of a convex function
    assert 1.0 < found[0] < 1.25
    assert (sums(fit, calibrated=False) > 3 * found).all()
