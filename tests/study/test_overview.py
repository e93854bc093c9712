"""What a study shows of itself: as code, what differs from the defaults; in a notebook, the whole file behind a click."""

import re

import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.data.overview import MOST_LINES, WIDTH

VECTORS = pd.DataFrame({"id": ["a", "b"], "0": [1.0, 2.0]})
STUDIES = {
    "defaults": {},
    "names": {"model": {"name": "additive", "prior": {"name": "normal"}}, "guide": {"name": "normal"}},
    "false and zero": {"model": {"affinity": {"name": "embedding", "user_bias": False}}, "data": {"negatives": 0}},
    "another part": {"model": {"affinity": {"name": "linear"}, "saturation": {"name": "hill"}, "exposure": "poisson"}},
    "validation": {"training": {"epochs": 5, "validation": {"split": "item-uniform", "metric": "ndcg@20"}}},
    "columns": {"data": {"user": "userId", "item": "movieId", "label": "rating", "positive_if": ">=4"}},
}


@pytest.mark.parametrize("name", STUDIES)
def test_the_repr_is_the_call_that_makes_the_study(name):
    study = pb.Study(**STUDIES[name])
    assert eval(repr(study), {"Study": pb.Study}) == study  # noqa: S307  our own repr
    assert str(study) == repr(study)
    assert len(repr(study).splitlines()) <= MOST_LINES


def test_only_what_differs_is_shown():
    assert repr(pb.Study()) == "Study()"
    assert repr(pb.Study(training={"epochs": 40, "seed": 3})) == "Study(training={'seed': 3})"
    assert repr(pb.Study(training={"epochs": 5}).training) == "TrainingConfig(epochs=5)"
    assert repr(pb.Study(**STUDIES["another part"])) == (
        "Study(model={'saturation': {'name': 'hill'}, 'affinity': {'name': 'linear'}, 'exposure': {'name': 'poisson'}})"
    )


def test_tables_are_shown_by_their_size():
    affinity = {"name": "fixed", "user_vectors": VECTORS, "item_vectors": VECTORS}
    study = pb.Study(model={"affinity": affinity, "prior": {"name": "gamma", "source": "counts", "counts": VECTORS}})
    assert repr(study).count("<2x2 DataFrame>") == 3
    assert "&lt;2x2 DataFrame&gt;" in study._repr_html_()


def test_long_sections_are_cut():
    study = pb.Study(data=dict.fromkeys(("user", "item", "label", "time", "path"), "x" * 300), training={"epochs": 5})
    lines = repr(study).splitlines()
    assert len(lines) <= MOST_LINES
    assert max(map(len, lines)) <= WIDTH
    assert lines[-2:] == ["    training={'epochs': 5},", ")"]


def test_a_notebook_shows_the_keys_and_the_whole_file():
    html = pb.Study(training={"epochs": 5}, data={"user": "<script>"})._repr_html_()
    assert re.search(r"<dt>training\.epochs</dt><dd><bdi class=\"\">5</bdi>", html)
    assert "guide_learning_rate = 0.05" in html.partition("<details>")[2]
    assert "<script>" not in html
    assert "every key at its default" in pb.Study()._repr_html_()
