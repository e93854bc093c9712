"""A held-out score that is not a number is the worst, wherever scores are compared, and is said to be none."""

import copy
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.cli import tune
from pyro_popbias.errors import DataWarning
from pyro_popbias.sparse_lookup import set_parameter
from pyro_popbias.training.held_out import beats, highest
from pyro_popbias.training.judge import RankingJudge
from pyro_popbias.training.loop import train
from pyro_popbias.training.restarts import best_of
from pyro_popbias.training.second_phase import PhaseTwo

NONE = PhaseTwo.of(0)
NAN = math.nan
POINTS = {"name": "embedding", "dim": 2, "posterior": "point"}


@pytest.fixture(scope="module")
def events():
    frame = pb.simulate(users=30, items=20, interactions=600, seed=0).frame
    return pb.Interactions.from_frame(frame.assign(x=np.linspace(-1, 1, len(frame))), label="label")


def study_of(affinity=POINTS, **training):
    return pb.Study(model={"affinity": affinity}, training={"epochs": 4, "phase_two": 0, "device": "cpu", **training})


def test_order():
    assert [beats(*pair) for pair in [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (NAN, 0.0), (0.0, NAN), (NAN, NAN)]] == [
        *(True, False, False, False, True, True)
    ]
    assert highest([NAN, -9.0, -3.0, NAN]) == 2
    assert highest([-math.inf, NAN]) == highest([NAN, NAN]) == 0


@pytest.mark.parametrize(
    ("scores", "best"), [([0.1, NAN, 0.9, NAN], 3), ([NAN, 0.2, NAN, 0.1], 2), ([NAN, NAN, NAN, NAN], 4)]
)
def test_the_best_epoch_has_a_number(events, monkeypatch, scores, best):
    kept, values = {}, iter(scores)
    monkeypatch.setattr(RankingJudge, "__call__", lambda self: next(values))
    made = pb.pair(events, study=study_of(validation={"metric": "ndcg@5"}))

    def keep(snapshot):
        kept[len(kept) + 1] = snapshot[1]["parameters.model.affinity.user_vectors_unconstrained"].clone()

    train(made, phase_two=NONE, save=keep)
    # the last snapshot holds what training went back to
    assert torch.equal(made.model.affinity.user_vectors, kept[4])
    assert (best == 4) == (not any(torch.equal(kept[4], kept[n]) for n in (1, 2, 3)))
    assert best == 4 or torch.equal(kept[4], kept[best])


def test_a_log_score_that_is_no_number_is_said(events):
    made = pb.pair(events, study=study_of({"name": "fixed", "score": "x"}))
    made.held_out._known["score"][0] = NAN
    with pytest.warns(
        DataWarning, match="PB-N021: the log-score of held-out rows is not a number, and counts as the worst"
    ):
        history = train(made, phase_two=NONE).history
    assert history["validation_log_score"].isna().all()
    assert len(history) == 4


def test_a_ranking_by_no_numbers_is_none(events):
    made = pb.pair(events, study=study_of(validation={"metric": "ndcg@5"}))
    judge = RankingJudge(made, "ndcg@5", 5)
    assert judge() > 0
    with torch.no_grad():
        vectors = made.model.affinity.user_vectors.clone()
        vectors[judge._users[0]] = NAN
    set_parameter(made.model.affinity, "user_vectors", vectors)
    with pytest.warns(DataWarning, match="PB-N021: the ndcg@5 of held-out rows is not a number"):
        assert math.isnan(judge())


def histories(column, *values):
    return [
        pd.DataFrame({"elbo": [elbo], "validation_log_score": [-1.0]} | {column: [value]}) for elbo, value in values
    ]


@pytest.mark.parametrize("column", ["validation_log_score", "validation_ndcg@20"])
def test_restarts(column):
    # the one without a number has the best objective, and comes first
    assert best_of(histories(column, (9.0, NAN), (-8.0, 0.1), (-7.0, 0.2), (5.0, NAN))) == 2
    assert best_of(histories(column, (-9.0, NAN), (-8.0, NAN), (NAN, NAN))) == 1


@pytest.fixture(scope="module")
def fit(events):
    return pb.fit(events, study=study_of(), progress=False)


def test_the_epochs_of_a_setting(fit):
    column = "validation_log_score"
    scores = fit.history.assign(**{column: [NAN, -0.5, -0.6, NAN]})
    assert tune.judged(replace(fit, history=scores))[1] == 2
    assert math.isnan(tune.judged(replace(fit, history=scores))[0])


def test_a_search(events, tmp_path, monkeypatch):
    values = iter([(NAN, 1), (-0.5, 2), (NAN, 3)])
    monkeypatch.setattr(tune, "judged", lambda fit: next(values))
    events.to_frame().to_csv(tmp_path / "rows.csv", index=False)
    data = '[data]\npath = "rows.csv"\nuser = "user"\nitem = "item"\nlabel = "label"\n'
    (tmp_path / "study.toml").write_text(
        f"{data}[model.affinity]\nname = 'embedding'\nposterior = 'point'\ndim = 1\n[training]\nphase_two = 0\nepochs = 1\n"
    )
    (tmp_path / "space.toml").write_text("training.learning_rate = [0.1, 0.2, 0.3]")
    lines = list(tune.run_tuning(tmp_path / "study.toml", tmp_path / "space.toml", tmp_path / "out", trials=3))
    assert sum("is not a number, which counts as the worst" in line for line in lines) == 2
    table = pd.read_csv(tmp_path / "out" / "trials.csv")
    assert table["value"].tolist()[0] == -0.5
    assert table["value"].isna().sum() == 2
    assert any("--set training.epochs=2" in line for line in lines)


def test_a_comparison(fit, events):
    broken = copy.deepcopy(fit)
    set_parameter(broken.model.affinity, "intercept", torch.tensor(NAN, dtype=torch.float64))
    table = pb.compare({"broken": replace(broken, events=None), "whole": fit}, events, metrics=())
    assert table["name"].tolist() == ["whole", "broken"]
    assert "the log-score of 600 of 600 rows is not a number, which counts as the worst" in table["note"].iloc[1]
    assert "not a number" not in table["note"].iloc[0]
