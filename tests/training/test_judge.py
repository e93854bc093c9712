"""A ranking metric of held-out rows stops a training and chooses its best epoch."""

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.assembly.training_data import split_rows
from pyro_popbias.training.judge import RankingJudge
from pyro_popbias.training.loop import train
from pyro_popbias.training.restarts import best_of
from pyro_popbias.training.second_phase import PhaseTwo

NONE = PhaseTwo.of(0)
POINTS = {"name": "embedding", "dim": 4, "posterior": "point"}


def events(*, labels=True, seed=0):
    frame = pb.simulate(users=60, items=40, interactions=2_500, seed=seed).frame.drop_duplicates(["user", "item"])
    if not labels:
        return pb.Interactions.from_frame(frame.query("label == 1").drop(columns="label"))
    return pb.Interactions.from_frame(frame, label="label")


def study(model="product", **validation):
    given = {"split": "item-uniform", "metric": "ndcg@10", "share": 0.1} | validation
    training = {"epochs": 6, "batch_size": 256, "validation": given, "device": "cpu"}
    return pb.Study(model={"name": model, "affinity": POINTS}, training=training)


@pytest.mark.slow
@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("metric", ["ndcg@10", "recall@5", "hit@3", "map@40"])
def test_the_judge_is_the_evaluation_of_the_held_out_rows(labels, metric):
    log, declared = events(labels=labels), study(metric=metric, popularity="posterior")
    made = pb.pair(log, study=declared)
    history = train(made, phase_two=NONE).history
    kept, held_out = (log.to_frame().iloc[rows] for rows in split_rows(log, made.study))
    # a fit whose rows are those trained on, with the same parameters
    label = "label" if labels else None
    fit = pb.fit(log, study=declared.replace("training", epochs=1, phase_two=0), progress=False)
    fit.model.load_state_dict(made.model.state_dict())
    fit.guide.load_state_dict(made.guide.state_dict())
    rows = pb.Interactions.from_frame(kept, label=label)
    positions = {name: pd.Index(getattr(log, name)) for name in ("users", "items")}
    codes = {
        name: positions[f"{name}s"].get_indexer(pd.Index(getattr(rows, f"{name}s")))[getattr(rows, name)]
        for name in ("user", "item")
    }
    whole = pb.Interactions(log.users, log.items, codes["user"], codes["item"], rows.label)
    from dataclasses import replace

    table = replace(fit, events=whole).evaluate(
        pb.Interactions.from_frame(held_out, label=label), k=(int(metric.split("@")[1]),), popularity="posterior"
    )
    expected = table.set_index("metric")["value"][metric]
    assert RankingJudge(made, metric, int(metric.split("@")[1]))() == pytest.approx(expected, rel=1e-12)
    assert history[f"validation_{metric}"].max() == pytest.approx(expected, rel=1e-6)  # the best epoch was kept


@pytest.mark.slow
@pytest.mark.parametrize("model", ["product", "additive", "inverse-logistic", "pda"])
def test_every_model_is_judged(model):
    made = pb.pair(events(labels=model != "pda"), study=study(model))
    history = train(made, phase_two=PhaseTwo(steps=2, cycle=2, epochs=4)).history
    assert history["validation_ndcg@10"].between(0, 1).all()
    assert history["validation_log_score"].notna().all()


def test_a_training_stops_where_the_ranking_is_best(monkeypatch):
    """Not where the log-score is: it ends ten epochs after the metric's best."""
    values = iter([0.1, 0.2, 0.9, *[0.3] * 40])
    monkeypatch.setattr(RankingJudge, "__call__", lambda self: next(values))
    made = pb.pair(events(), study=study().replace("training", epochs=40))
    history = train(made, phase_two=NONE).history
    assert len(history) == 13
    assert history["validation_ndcg@10"].idxmax() == 2


def test_restarts_are_chosen_by_the_metric():
    columns = {"elbo": [-9.0], "validation_log_score": [-0.5], "validation_ndcg@20": [0.1]}
    other = {"elbo": [-9.0], "validation_log_score": [-0.7], "validation_ndcg@20": [0.2]}
    assert best_of([pd.DataFrame(columns), pd.DataFrame(other)]) == 1


def test_items_are_held_out_evenly():
    log, declared = events(), study(share=0.05)
    _, held_out = split_rows(log, declared)
    count = np.bincount(log.item[held_out], minlength=len(log.items))
    assert len(held_out) == round(0.05 * len(log))
    assert count.max() - count.min() <= 1


def test_a_study_keeps_what_judges(tmp_path):
    declared = study()
    (tmp_path / "study.toml").write_text(declared.to_toml())
    again = pb.Study.from_toml(tmp_path / "study.toml", ["training.validation.share=0.2"])
    assert again.training.held_out.metric == "ndcg@10"
    assert again.training.held_out.share == 0.2
    assert pb.Study(training={"validation": 0.3}).training.held_out.share == 0.3
    fit = pb.fit(events(), study=declared.replace("training", epochs=2, phase_two=0), progress=False)
    fit.save(tmp_path / "run")
    loaded = pb.load(tmp_path / "run")
    assert loaded.study == fit.study
    pd.testing.assert_frame_equal(loaded.history, fit.history)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ({"split": "item_uniform"}, "unknown split; did you mean 'item-uniform'"),
        ({"metric": "auc"}, "it should be 'log-score', or one of hit, recall"),
        ({"metric": "ndcg@0"}, "it should be 'log-score'"),
        ({"share": 1.5}, "less than or equal to 0.9"),
        ({"metrik": "ndcg@20"}, "PB-C077: .*metrik"),
    ],
)
def test_what_cannot_judge_is_refused(validation, message):
    with pytest.raises(pb.ConfigError, match=message):
        pb.Study(training={"validation": validation})


def test_a_ranking_needs_held_out_positives():
    made = pb.pair(events(), study=study(share=0.0))
    with pytest.raises(pb.DataError, match="PB-D373: no positives are held out to judge by ndcg@10"):
        train(made, phase_two=NONE)


def test_a_split_in_time_needs_times():
    with pytest.raises(pb.ConfigError, match="PB-C005: the split 'temporal' needs a time column"):
        pb.pair(events(), study=study(split="temporal"))
