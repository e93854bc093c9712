"""`--json` of every command: one value on standard output, without NaN, and nothing else."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer

import pyro_popbias as pb
from pyro_popbias.cli import app as cli
from pyro_popbias.cli.demo import run_demo
from pyro_popbias.cli.outputs import emit, plain, say

pytestmark = pytest.mark.usefixtures("short_training")
GOLDEN = Path(__file__).parents[1] / "golden" / "schema-6"
SHORT = ["--set", "training.epochs=1", "--set", "training.phase_two=0", "--set", "model.affinity.dim=2"]
SIZES = ["--users", "20", "--items", "10", "--interactions", "300"]
SPACE = "[model.affinity]\ndim = [1, 2]\n"
# every command, with arguments that make it print all that it can
COMMANDS = {
    "demo": ([], dict),
    "init": (["--from", "rows.csv", "-o", "new.toml"], dict),
    "fit": (["study.toml", "--out", "new", *SHORT], dict),
    "update": (["run", "--data", "rows.csv", "--out", "updated"], dict),
    "popularity": (["run"], list),
    "items": (["run"], list),
    "predict": (["run", "pairs.csv"], list),
    "recommend": (["run", "-k", "2"], list),
    "similar": (["vectors", "i1"], list),
    "export": (["run", "-o", "exported", "--vectors", "none", "--lists", "2"], dict),
    "evaluate": (["run", "test.csv", "-k", "2"], dict),
    "check": (["run"], dict),
    "compare": (["run", "--test", "test.csv"], dict),
    "tune": (["study.toml", "--space", "space.toml", "--out", "search", "--trials", "1"], dict),
    "report": (["run", "-o", "report.html"], dict),
    "simulate": (["study.toml", *SIZES, "--events", "events.csv", "--truth", "truth.csv"], dict),
    "calibrate": (["study.toml", *SIZES[2:4], "--interactions", "300", *SHORT], dict),
    "variants": ([], list),
    "doctor": ([], dict),
}
SLOW = dict.fromkeys(("demo", "report", "update", "tune", "check"), pytest.mark.slow)


@pytest.fixture
def golden(folder):
    """Return a folder with a small run of twelve users and eight items, and rows that it has not seen."""
    shutil.copytree(GOLDEN, folder / "run")
    fit = pb.load(folder / "run")
    seen = set(zip(fit.events.users[fit.events.user], fit.events.items[fit.events.item], strict=True))
    pairs = [(f"u{user}", f"i{item}") for user in range(12) for item in range(8)]
    test = pd.DataFrame([pair for pair in pairs if pair not in seen], columns=["user", "item"])
    test.assign(label=np.arange(len(test)) % 2).to_csv(folder / "test.csv", index=False)
    known = pd.MultiIndex.from_product([fit.catalogue.users, fit.catalogue.items], names=["user", "item"])
    known.to_frame(index=False).to_csv(folder / "pairs.csv", index=False)
    (folder / "space.toml").write_text(SPACE)
    return folder


def strictly(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def small_demo(capsys):
    """Run `popbias demo --json` with fewer users and items."""
    say(run_demo(Path("demo"), users=40, items=30, interactions=2_000), as_json=True)
    return 0, *capsys.readouterr()


def test_every_command_is_here_and_has_the_option():
    commands = typer.main.get_command(cli.app).commands
    assert {*COMMANDS, "explore"} == commands.keys()  # explore prints its address and goes on: tests/explore
    for name, command in commands.items():
        options = {option: parameter for parameter in command.params for option in parameter.opts}
        assert options["--json"].is_flag, name
        assert options["--json"].help == "Print one JSON value, and nothing else, to standard output.", name


@pytest.mark.filterwarnings("ignore:PB-D")
@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in COMMANDS])
def test_standard_output_is_one_value(golden, popbias, capsys, name):
    arguments, kind = COMMANDS[name]
    if name == "similar":  # the run has no dimension left
        point = ["--set", "model.affinity.posterior=point", "--set", "model.affinity.scale=0.5"]
        assert popbias("fit", "study.toml", "--out", "vectors", *SHORT, *point)[0] == 0
    code, out, error = small_demo(capsys) if name == "demo" else popbias(name, *arguments, "--json")
    assert code in (0, 6 if name in ("check", "calibrate") else 0), error
    found = strictly(out)
    assert isinstance(found, kind)
    assert found
    if kind is list:
        assert all(isinstance(row, dict) for row in found)
    if code == 6:
        assert not found["passed"]
        assert error.splitlines()[-1].startswith("error: PB-C")


def test_tables_have_all_rows_and_the_numbers_of_python(golden, popbias):
    fit = pb.load("run")
    found = strictly(popbias("popularity", "run", "--json")[1])
    assert found == fit.popularity().to_dict("records")
    code, out, _ = popbias("recommend", "run", "-k", "2", "-o", "lists.csv", "--json")
    assert (code, strictly(out)) == (0, {"output": "lists.csv", "rows": len(pd.read_csv("lists.csv"))})
    found = strictly(popbias("predict", "run", "pairs.csv", "--json")[1])
    assert [row["user"] for row in found] == pd.read_csv("pairs.csv")["user"].tolist()


def test_an_error_leaves_standard_output_empty(golden, popbias):
    code, out, error = popbias("similar", "run", "nothing", "--json")
    assert (code, out) == (3, "")
    assert error.startswith("error: PB-D049")


def test_values_of_json():
    odd = 'q"\x1b[2J\u202e é'
    frame = pd.DataFrame({"item": [odd, None, "007"], "z": [1.5, np.nan, np.inf], "n": np.arange(3), "is": [True] * 3})
    frame = frame.assign(when=pd.to_datetime(["2020-01-01", None, "2021-01-01"]))
    found = plain(
        {"rows": frame, "path": Path("a/b"), "one": np.float32(0.5), "no": [np.nan, pd.NA, -np.inf], 3: (1, None)}
    )
    assert found["rows"][0] == {"item": odd, "z": 1.5, "n": 0, "is": True, "when": "2020-01-01 00:00:00"}
    assert found["rows"][1] == {"item": None, "z": None, "n": 1, "is": True, "when": None}
    assert found["rows"][2]["z"] is None
    assert {key: value for key, value in found.items() if key != "rows"} == {
        "path": "a/b", "one": 0.5, "no": [None, None, None], "3": [1, None],
    }  # fmt: skip


@pytest.mark.parametrize("rows", [0, 1, 50])
def test_an_array_is_printed_whole(capsys, rows):
    frame = pd.DataFrame({"item": [f"\u202e{n}" for n in range(rows)], "z": np.arange(rows) / 3})
    emit(frame, None, as_json=True, most=40)
    out = capsys.readouterr().out
    assert strictly(out) == frame.to_dict("records")
    assert out.isascii()
