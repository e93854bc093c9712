"""The benchmark of unbiased rankings: its metrics are those of `Fit.evaluate`, and a run goes on where it was cut off."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb

FOLDER = Path(__file__).parents[1] / "benchmarks"
if str(FOLDER) not in sys.path:
    sys.path.append(str(FOLDER))
problems, results, systems, unbiased = (
    importlib.import_module(name) for name in ("contest.problems", "contest.results", "contest.systems", "unbiased")
)
TRAINING = {"epochs": 3, "batch_size": 256, "phase_two": 0, "device": "cpu"}
POINTS = {"name": "embedding", "dim": 2, "posterior": "point"}


def problem_of(*, ranks_all):
    frame = pb.simulate(users=40, items=60, interactions=3_000, seed=0).frame.drop_duplicates(["user", "item"])
    frame = frame.query("label == 1") if ranks_all else frame
    events = pb.Interactions.from_frame(frame, label=None if ranks_all else "label")
    train, test = events.split("item-uniform", test=0.1, seed=0)
    decides, metrics = ("ndcg@5", ("hit@5", "ndcg@5")) if ranks_all else ("user_auc", ("user_auc", "ndcg@5"))
    return problems.Problem("log", train, test, "item-uniform", 0.1, decides, metrics, 5, ranks_all=ranks_all)


def system_of(name="inverse-logistic"):
    setting = {"schema": 1, "model": {"name": name, "affinity": POINTS}, "training": TRAINING}
    return systems.StudySystem([setting], "log")


@pytest.mark.parametrize("ranks_all", [True, False])
def test_metrics_are_those_of_evaluate(ranks_all):
    problem, system = problem_of(ranks_all=ranks_all), system_of()
    study = pb.Study.model_validate({**system.settings[0], "training": {**TRAINING, "seed": 3}})
    fit = pb.fit(problem.train, study=study, progress=False)
    scored = system.train(problem, system.settings[0], 0, 3)
    assert list(scored) == ["population", "posterior", "none"]
    for mode in ("population", "posterior"):
        found = problem.judged_on_test(scored[mode], is_probability=False)
        candidates = "all" if ranks_all else "test"
        expected = fit.evaluate(problem.test, k=(5,), popularity=mode, candidates=candidates).set_index("metric")
        for metric in problem.metrics:
            value = float(found.metrics[metric](np.ones((1, len(found.ids))))[0])
            assert value == pytest.approx(expected["value"][metric], abs=1e-12)


def test_a_run_goes_on_where_it_was(tmp_path, monkeypatch):
    problem, system = problem_of(ranks_all=True), system_of()
    folder = results.Results(tmp_path)
    unbiased.run(problem, "ours", system, folder, seeds=2)
    before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert len(before) == 1 + 2 * (3 + 1)  # the settings; of two seeds three modes, and that they are whole
    for method in ("choose", "train"):
        monkeypatch.setattr(systems.StudySystem, method, lambda *_: pytest.fail("done already"))
    unbiased.run(problem, "ours", system, folder, seeds=2)
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before


def test_table_compares_means_over_seeds(tmp_path):
    problem, folder = problem_of(ranks_all=True), results.Results(tmp_path)
    popular = systems.SYSTEMS["most_popular"]
    unbiased.run(problem, "most_popular", popular, folder, seeds=2)
    unbiased.run(problem, "ours", system_of(), folder, seeds=2)
    judged = {}
    for name, mode in (("ours", "population"), ("most_popular", "score")):
        tables = folder.trained(problem, name)[mode]
        judged[name] = results.mean_over_seeds(problem.judged_on_test(each, is_probability=False) for each in tables)
    shown = results.table(problem, judged, "ours").set_index("system")
    for name, each in judged.items():
        value = float(each.metrics["ndcg@5"](np.ones((1, len(each.ids))))[0])
        assert shown["ndcg@5"][name] == f"{value:.3f}"
    lower, upper = map(float, shown["ours ahead by"]["most_popular"].split(" to "))
    gap = float(shown["ndcg@5"]["ours"]) - float(shown["ndcg@5"]["most_popular"])
    assert lower - 0.001 <= gap <= upper + 0.001
    assert shown["ours ahead by"]["ours"] == ""


def test_lists_stand_for_scores():
    lists = np.array([[3, 1], [0, 2]])
    table = problems.table_of_lists(lists, 5)(np.array([1, 0]))
    assert np.argsort(-table, axis=1)[:, :2].tolist() == [[0, 2], [3, 1]]
    assert np.isinf(table).sum() == 6


def test_baselines_have_no_more_settings_than_our_models():
    number = {name: len(system.settings) for name, system in systems.SYSTEMS.items()}
    assert max(number.values()) <= systems.MOST_SETTINGS
    assert pd.Series(number).drop("most_popular").min() >= 2
