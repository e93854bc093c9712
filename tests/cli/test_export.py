"""`popbias export`: a folder of Parquet files, whole or not at all, which only another export replaces."""

import json
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.usefixtures("short_training")


@pytest.fixture
def run(popbias, folder):
    short = ("--set", "training.epochs=1", "--set", "training.phase_two=0")
    assert popbias("fit", "study.toml", "--out", "run", *short)[0] == 0
    return folder / "run"


def test_a_run_is_exported(popbias, run):
    code, out, error = popbias("export", run, "-o", "out", "--vectors", "approximate", "--lists", "3", "--json")
    assert code == 0, error
    assert set(json.loads(out)["files"]) == {"items.parquet", "users.parquet", "lists.parquet"}
    manifest = json.loads(Path("out/manifest.json").read_text())
    items, users, lists = (pd.read_parquet(f"out/{name}.parquet") for name in ("items", "users", "lists"))
    assert len(items["vector"][0]) == len(users["vector"][0]) == manifest["vectors"]["dim"]
    assert (lists.groupby("user").size() <= 3).all()  # fewer where a user has seen almost all items
    assert lists["user"].nunique() == len(users)
    assert {name: len(frame) for name, frame in (("items.parquet", items), ("users.parquet", users))} == {
        name: each["rows"] for name, each in manifest["files"].items() if name != "lists.parquet"
    }


def test_only_an_export_is_replaced(popbias, run):
    assert popbias("export", run, "-o", "out", "--vectors", "none", "--lists", "2")[0] == 0
    before = Path("out/lists.parquet").read_bytes()
    assert popbias("export", run, "-o", "out", "--vectors", "none", "--lists", "3")[0] == 5
    assert Path("out/lists.parquet").read_bytes() == before
    assert popbias("export", run, "-o", "out", "--vectors", "none", "--lists", "3", "--overwrite")[0] == 0
    assert Path("out/lists.parquet").read_bytes() != before
    hashes = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert popbias("export", run, "-o", run, "--vectors", "none", "--lists", "3", "--overwrite")[0] != 0
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == hashes


def test_nothing_is_written_into_a_run(popbias, run):
    for command in (("export", run, "-o", run / "out"), ("fit", "study.toml", "--out", "new", "--plot", "new/x.png")):
        code, _, error = popbias(*command)
        assert (code, error.split(":")[1].strip()) == (2, "PB-C330")
    assert not Path("new").exists()


def test_a_share_of_popularity_is_a_mode(popbias, run):
    assert popbias("recommend", run, "-k", "3", "--popularity", "share=0", "-o", "none.csv")[0] == 0
    assert popbias("recommend", run, "-k", "3", "-o", "population.csv")[0] == 0
    assert popbias("recommend", run, "-k", "3", "--popularity", "share=1", "-o", "own.csv")[0] == 0
    lists = {name: pd.read_csv(f"{name}.csv")["item"].tolist() for name in ("none", "population", "own")}
    assert lists["none"] == lists["population"] != lists["own"]
    code, _, error = popbias("predict", run, "pairs.csv", "--popularity", "share=much")
    assert (code, error.split(":")[1].strip()) == (2, "PB-C011")
