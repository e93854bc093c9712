"""`popbias calibrate`."""

import numpy as np
import pandas as pd
import pytest

from pyro_popbias.checks.simulated_ranks import SimulatedRanks
from pyro_popbias.cli import simulated_calibration
from pyro_popbias.data.table_files import read_table
from pyro_popbias.guides import Bounds

SIZES = ["--items", "60", "--interactions", "1500"]


@pytest.fixture(autouse=True)
def _some_training(phase_two_as):
    with phase_two_as(steps=30, cycle=6, most_cycles=2):
        yield


@pytest.mark.slow
def test_it_prints_a_table_and_a_verdict_and_needs_no_rows(folder, popbias):
    (folder / "rows.csv").unlink()
    code, printed, _ = popbias("calibrate", "study.toml", *SIZES, "-o", "ranks.csv", "--plot", "ranks.png")
    assert code == 0, printed
    lines = printed.splitlines()
    assert lines[0].split() == [
        "posterior", "rows", "items", "distance", "paired", "interval_distance", "interval_paired",
        "coverage_50", "coverage_90",
    ]  # fmt: skip
    assert lines[-1] == "not judged: too few items with 20 or more rows; simulate more"
    ranks = read_table(folder / "ranks.csv", text=("item",))
    assert list(ranks.columns) == ["item", "rows", "z", "guide", "exact"]
    assert ranks["rows"].sum() == 1500
    assert ranks[["guide", "exact"]].stack().between(0, 1).all()
    assert (folder / "ranks.png").read_bytes().startswith(b"\x89PNG")


def test_the_seed_decides_the_world(folder, popbias):
    short = ["--items", 15, "--interactions", 150, "--set", "training.phase_two=1"]
    found = []
    for name, seed in (("a.csv", 3), ("b.csv", 3), ("c.csv", 4)):
        popbias("calibrate", "study.toml", *short, "--seed", seed, "-o", name)
        found.append((folder / name).read_bytes())
    assert found[0] == found[1] != found[2]


def test_a_rule_that_does_not_hold_has_its_exit_code(folder, popbias, monkeypatch):
    exact = np.linspace(0.001, 0.999, 500)
    table = pd.DataFrame({"item": range(500), "rows": 40, "z": 1.0, "guide": exact**2, "exact": exact})
    wrong = SimulatedRanks(table, "gamma", Bounds(mean=0.02, high=0.15))
    monkeypatch.setattr(simulated_calibration, "calibrated", lambda *_, **__: wrong)
    code, printed, error = popbias("calibrate", "study.toml", "-o", "ranks.csv")
    assert code == 6
    assert "PB-C452: study.toml: out of calibration: guide, intervals of the guide" in error
    assert "FAILS guide 'gamma', 500 items with 20 or more rows: D is 0.25" in printed
    assert (folder / "ranks.csv").exists()  # to look at


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--set", "guide.name=point"], 2, "PB-C450: the study cannot be calibrated: guide 'point'"),
        (["--set", "model.name=pda"], 2, "PB-C450: the study cannot be calibrated: model 'pda'"),
        (["--set", "guide.name=normal"], 2, "PB-C078: guide 'normal' does not live on"),
        (["--items", "0"], 2, "PB-C084: items must be an integer >= 1, not 0"),
        (["--interactions", "0"], 2, "PB-C084: interactions must be an integer >= 1, not 0"),
        (["--seed", "-1"], 2, "PB-C084: seed must be an integer >= 0, not -1"),
        (["--plot", "ranks.svg"], 2, "PB-C451: the plot ranks.svg is not a .png file"),
        (
            ["--plot", "none/ranks.png"],
            5,
            "PB-R100: cannot write none/ranks.png: there is no folder none; make it first",
        ),
        (["-o", "none/ranks.csv"], 5, "PB-R100: cannot write none/ranks.csv: there is no folder none"),
        (["-o", "ranks.txt"], 2, "PB-C008: "),
        (["-o", "study.toml"], 2, "PB-C330: the output study.toml would overwrite study.toml"),
    ],
)
def test_what_is_refused(folder, popbias, folder_hash, options, code, message):
    before = folder_hash(folder)
    found, _, error = popbias("calibrate", "study.toml", *options)
    assert found == code
    assert error.startswith(f"error: {message}")
    assert folder_hash(folder) == before


@pytest.mark.slow
def test_given_vectors_are_not_read(folder, popbias):
    affinity = 'affinity = { name = "fixed", user_vectors = "none.csv", item_vectors = "none.csv" }'
    text = (folder / "study.toml").read_text().replace('affinity = { name = "embedding", dim = 4 }', affinity)
    (folder / "study.toml").write_text(text)
    code, printed, error = popbias("calibrate", "study.toml", *SIZES)
    assert code == 0, (printed, error)
