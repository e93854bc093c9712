"""A run folder from elsewhere may name any file: no command that reads a run opens what only its study names."""

import os
import sys

import numpy as np
import pandas as pd
import pytest

FILES = 'user_features = "trap/users.csv"\nitem_features = "trap/items.csv"\nnew_items = true\n'
STUDY = f"""\
[data]
path = "trap/rows.csv"
user = "user"
item = "item"
label = "label"
{FILES}[model]
affinity = {{ name = "embedding", dim = 2, item_quality = true }}
exposure = "poisson"
[training]
epochs = 1
phase_two = 0
device = "cpu"
"""
COMMANDS = {
    "popularity": ("popularity", "run"),
    "items": ("items", "run"),
    "predict": ("predict", "run", "pairs.csv", "-o", "out.csv"),
    "recommend": ("recommend", "run", "-o", "out.csv"),
    "evaluate": ("evaluate", "run", "test.csv"),
    "check": ("check", "run"),
    "compare": ("compare", "run", "run2"),
    "compare-with-test": ("compare", "run", "run2", "--test", "test.csv"),
    "report": ("report", "run", "-o", "out.html", "--test", "test.csv"),
    "update": ("update", "run", "--data", "test.csv", "--out", "updated"),
}
SLOW = dict.fromkeys(("check", "report", "update"), pytest.mark.slow)
OPENED = []
HOOKED = False


def audit(event, arguments):
    if HOOKED and event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | bytes | os.PathLike):
        OPENED.append(os.fspath(arguments[0]))


sys.addaudithook(audit)  # stays, and costs nothing while nothing is looked for


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with two runs whose study names files in `trap`."""
    folder, generator = tmp_path_factory.mktemp("named"), np.random.default_rng(0)
    trap = folder / "trap"
    trap.mkdir()
    users, items = [f"u{n}" for n in range(12)], [f"i{n}" for n in range(10)]
    pairs = pd.MultiIndex.from_product([users, items], names=["user", "item"]).to_frame(index=False)
    rows = pairs.assign(label=generator.integers(0, 2, len(pairs)))
    test = rows.sample(30, random_state=0)
    rows.drop(test.index).to_csv(trap / "rows.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)
    test[["user", "item"]].to_csv(folder / "pairs.csv", index=False)
    for name, ids in (("users", users), ("items", [*items, "new"])):
        pd.DataFrame({"id": ids, "x": generator.normal(size=len(ids))}).to_csv(trap / f"{name}.csv", index=False)
    (folder / "study.toml").write_text(STUDY)
    return folder


@pytest.fixture
def runs(made, popbias, monkeypatch):
    monkeypatch.chdir(made)
    for name in ("run", "run2"):
        if not (made / name).exists():
            code, _, error = popbias("fit", "study.toml", "--out", name)
            assert code == 0, error
            assert "trap/users.csv" in (made / name / "study.toml").read_text()
    return made


@pytest.mark.parametrize(
    "command", [pytest.param(COMMANDS[name], id=name, marks=SLOW.get(name, ())) for name in COMMANDS]
)
def test_files_of_the_study_are_not_opened(runs, popbias, command):
    global HOOKED
    OPENED.clear()
    HOOKED = True
    try:
        code, _, error = popbias(*command)
    finally:
        HOOKED = False
    assert code in (0, 6), error
    assert OPENED
    assert not [each for each in map(os.fsdecode, OPENED) if "trap" in each]


def test_evaluation_is_the_same_without_the_files(runs, popbias):
    before = popbias("evaluate", "run", "test.csv")
    (runs / "trap").rename(runs / "gone")
    try:
        assert popbias("evaluate", "run", "test.csv") == before
        assert before[0] == 0
    finally:
        (runs / "gone").rename(runs / "trap")
