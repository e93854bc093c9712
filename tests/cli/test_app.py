import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import typer

import pyro_popbias as pb
from pyro_popbias.assembly.identification import REMEDY
from pyro_popbias.checks import check as checking
from pyro_popbias.checks.finding import Finding
from pyro_popbias.cli import app as cli
from pyro_popbias.cli import outputs
from pyro_popbias.progress import TrainingProgress

pytestmark = pytest.mark.usefixtures("short_training")
COMMANDS = [
    *[
        "demo",
        "init",
        "fit",
        "update",
        "popularity",
        "items",
        "predict",
        "recommend",
        "similar",
        "export",
        "evaluate",
        "check",
        "compare",
        "tune",
        "report",
        "explore",
    ],
    *["simulate", "calibrate", "variants", "doctor"],
]
MAIN = "from pyro_popbias.cli.app import main; main()"


def command(*arguments, code=MAIN):
    return [sys.executable, "-c", code, *map(str, arguments)]


def run(*arguments, code=MAIN):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(command(*arguments, code=code), capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("arguments", [[], ["fit"], ["recommend"]])
def test_help_is_light(arguments):
    heavy = ["torch", "arviz", "pandas", "pyro", "matplotlib"]
    code = f"""
import sys
from pyro_popbias.cli.app import main
try:
    main()
finally:
    print("heavy", [name for name in {heavy} if name in sys.modules])
"""
    done = run(*arguments, "--help", code=code)
    assert done.returncode == 0, done.stderr
    assert "heavy []" in done.stdout
    assert all(word in done.stdout for word in arguments or COMMANDS)


def test_later_work_is_not_listed():
    names = [command.name or command.callback.__name__ for command in cli.app.registered_commands]
    assert sorted(names) == sorted(COMMANDS)


def test_init_writes_a_study_with_the_defaults(popbias, tmp_path, monkeypatch, folder_hash):
    monkeypatch.chdir(tmp_path)
    assert popbias("init")[0] == 0
    study = pb.Study.from_toml("study.toml")
    assert {name: getattr(study, name) for name in ("model", "guide", "training")} == {
        name: getattr(pb.Study(), name) for name in ("model", "guide", "training")
    }
    before = folder_hash(tmp_path)
    code, _, error = popbias("init")
    assert (code, error) == (
        5,
        "error: PB-R101: study.toml exists; choose another name, remove it, or replace it with --overwrite\n",
    )
    assert folder_hash(tmp_path) == before


@pytest.mark.slow
def test_from_fit_to_recommendations(popbias, folder, frame):
    done = run("fit", "study.toml", "--out", "run", "--guide", "lognormal", "--set", "training.seed=4")
    assert done.returncode == 0
    warned, *progress = done.stderr.splitlines(keepends=True)
    assert all("held-out log-score" in line for line in progress)  # as lines
    assert (folder / "run" / "run.log").read_text() == "".join(progress)
    assert warned.startswith("warning: PB-C402: nothing tells the popularity of an item from its quality")
    assert warned.replace("PB-C402: ", "") in done.stdout
    assert REMEDY in done.stdout
    for part in (
        "Interactions(400 rows, 20 users, 15 items",
        "phase 1: 3 epochs",
        "held-out log-loss",
        "run folder: run",
    ):
        assert part in done.stdout
    fit = pb.load("run")
    assert (fit.study.guide.name, fit.study.training.seed) == ("lognormal", 4)
    for arguments in (
        ["popularity", "run", "-o", "popularity.csv"],
        ["predict", "run", "pairs.csv", "--popularity", "posterior", "-o", "predict.parquet"],
        ["recommend", "run", "-k", "3", "--users", "pairs.csv", "-o", "recommend.csv.gz"],
    ):
        code, out, error = popbias(*arguments)
        assert (code, error) == (0, "")
        assert out.endswith(f"rows -> {arguments[-1]}\n")
    pairs = frame.head(30)
    written = pd.read_parquet("predict.parquet")
    pd.testing.assert_frame_equal(written, fit.predict(pairs, popularity="posterior"), check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_csv("popularity.csv"), fit.popularity(), check_dtype=False)
    expected = fit.recommend(pairs["user"], k=3)
    pd.testing.assert_frame_equal(pd.read_csv("recommend.csv.gz"), expected, check_dtype=False)


def test_popularity_is_a_mode_or_a_number(popbias, folder):
    fit = pb.fit(
        pb.read_interactions("rows.csv", label="label"), study=pb.Study.from_toml("study.toml"), progress=False
    )
    fit.save("run")
    pairs = pd.read_csv("pairs.csv")
    assert popbias("predict", "run", "pairs.csv", "--popularity", "1.5", "-o", "predict.csv")[0] == 0
    pd.testing.assert_frame_equal(pd.read_csv("predict.csv"), fit.predict(pairs, 1.5), check_dtype=False)
    assert popbias("recommend", "run", "-k", "2", "--users", "pairs.csv", "--p-top-k", "-o", "top.csv")[0] == 0
    sure = fit.recommend(pairs["user"], k=2, p_top_k=True)
    pd.testing.assert_frame_equal(pd.read_csv("top.csv"), sure, check_dtype=False)
    assert popbias("recommend", "run", "-k", "2", "--popularity", "1e-1", "-o", "top.csv")[0] == 0
    pd.testing.assert_frame_equal(pd.read_csv("top.csv"), fit.recommend(k=2, popularity=0.1), check_dtype=False)
    for mode, message in (
        ("-1", "PB-C360: popularity=-1.0 must be a finite number > 0"),
        ("nan", "PB-C360: popularity=nan must be a finite number > 0"),
        ("posteriori", "PB-C011: popularity='posteriori' is not available; did you mean 'posterior'?"),
        ("forecast=0.5", "PB-C372: a forecast needs two periods or more"),
        ("forecast=half", "PB-C011: popularity='forecast=half' is not available; did you mean 'forecast'?"),
    ):
        code, _, error = popbias("predict", "run", "pairs.csv", "--popularity", mode, "-o", "wrong.csv")
        assert (code, error.count("\n")) == (2, 1)
        assert message in error


def test_a_user_twice_in_a_file_is_answered_once(popbias, folder):
    fit = pb.fit(
        pb.read_interactions("rows.csv", label="label"), study=pb.Study.from_toml("study.toml"), progress=False
    )
    fit.save("run")
    pd.DataFrame({"user": ["u3", "u1", "u3"]}).to_csv("twice.csv", index=False)
    assert popbias("recommend", "run", "-k", "2", "--users", "twice.csv", "-o", "top.csv")[0] == 0
    pd.testing.assert_frame_equal(pd.read_csv("top.csv"), fit.recommend(["u3", "u1"], k=2), check_dtype=False)


def test_tables_are_printed_without_output(popbias, folder):
    assert popbias("fit", "study.toml", "--out", "run", "--no-data")[0] == 0
    assert not (folder / "run" / "interactions.parquet").exists()
    code, out, _ = popbias("popularity", "run")
    assert code == 0
    assert "prior_mean" in out.splitlines()[0]
    code, _, error = popbias("recommend", "run", "-o", "out.csv")
    assert (code, error.count("\n")) == (3, 1)
    assert "PB-D106: the run was saved without its interactions (--no-data)" in error


def test_quality_and_popularity_of_items(popbias, folder, frame):
    few = frame["item"].isin(frame["item"].unique()[:5])  # logged a third as often as the others
    frame[~few | (frame.index % 3 == 0)].to_csv("rows.csv", index=False)
    code, out, error = popbias("fit", "study.toml", "--out", "run")
    assert code == 0
    assert "warning" not in out + error
    code, out, _ = popbias("items", "run")
    assert code == 0
    assert out.split()[:3] == ["item", "quality", "quality_sd"]
    assert len(out.splitlines()) == 16
    assert popbias("items", "run", "-o", "items.csv")[:2] == (0, "15 rows -> items.csv\n")
    pd.testing.assert_frame_equal(pd.read_csv("items.csv"), pb.load("run").items(), check_dtype=False)
    code, _, error = popbias("items", "run", "-o", "run/manifest.json")
    assert (code, error.count("\n")) == (2, 1)
    assert popbias("fit", "study.toml", "--out", "without", "--set", "model.exposure=none")[0] == 0
    code, _, error = popbias("items", "without")
    assert (code, error[:50]) == (2, "error: PB-C403: items have no quality in this fit.")


def test_check_ends_with_exit_code_6_where_a_rule_does_not_hold(popbias, folder, monkeypatch, folder_hash):
    assert popbias("fit", "study.toml", "--out", "run")[0] == 0
    before = folder_hash(folder)
    right, wrong = (Finding("items", "click rate", 0.1, bound, bound > 0.1, "plain words") for bound in (0.2, 0.05))
    for findings, verdict in (([right], "all 1 rules hold"), ([right, wrong], "1 of 2 rules does not hold")):
        monkeypatch.setattr(checking, "CHECKS", (lambda fit, seed, found=findings: ({}, found),))
        code, out, error = popbias("check", "run", "--all")
        assert out.splitlines()[0] == "ok    items          plain words"
        assert verdict in out.splitlines()[-1]
        said = "1 of 2 rules does not hold (items: click rate); popbias check run --all shows every rule"
        expected = f"error: PB-C140: run: {said}\n"
        assert (code, error) == ((6, expected) if len(findings) > 1 else (0, ""))
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert folder_hash(folder) == before


def test_check_needs_the_interactions(popbias, folder):
    assert popbias("fit", "study.toml", "--out", "run", "--no-data")[0] == 0
    code, out, error = popbias("check", "run")
    assert (code, out, error.count("\n")) == (3, "", 1)
    assert "PB-D140: the run was saved without its interactions (--no-data)" in error


def test_simulate_then_fit(popbias, folder):
    sizes = ["--users", "20", "--items", "10", "--interactions", "300", "--seed", "1"]
    code, out, error = popbias("simulate", "study.toml", *sizes, "--events", "events.csv", "--truth", "truth.parquet")
    assert (code, out, error) == (0, "300 rows -> events.csv\n10 rows -> truth.parquet\n", "")
    assert list(pd.read_parquet("truth.parquet").columns) == ["item", "period", "z"]
    assert popbias("fit", "study.toml", "--data", "events.csv", "--out", "run")[0] == 0
    assert len(pb.load("run").events) == 300


def test_variants(popbias):
    code, out, _ = popbias("variants")
    assert code == 0
    assert out.split()[:7] == ["model", "prior", "guide", "allowed", "kl", "intervention", "reason"]
    table = pb.variants()
    assert len(out.splitlines()) == 1 + len(table) > 41  # none left out
    assert "..." not in out
    assert all(reason in out for reason in table["reason"])


@pytest.mark.parametrize(("rows", "last"), [(40, 39), (45, 39)])
def test_a_long_table_says_how_many_rows_more(capsys, rows, last):
    table = pd.DataFrame({f"column {name}": range(rows) for name in range(30)})
    outputs.emit(table, None, as_json=False, most=40)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].count("column") == 30
    assert lines[40].split() == [str(last)] * 30
    assert lines[41:] == ([f"... {rows - 40} more of {rows} rows; write them all with -o FILE"] if rows > 40 else [])


def test_every_command_and_option_is_explained():
    for command in typer.main.get_command(cli.app).commands.values():
        first, *paragraphs, examples = re.sub("\b", "", command.help).strip().split("\n\n")
        assert first == command.short_help, command.name
        assert len(first) <= 62, command.name  # more would be cut off in the list of commands, in 80 columns
        assert all(each.endswith((".", "?")) for each in (first, *paragraphs)), command.name
        assert paragraphs, command.name
        head, *lines = examples.strip().splitlines()
        assert head == "Examples:", command.name
        for line in lines:
            assert len(line) <= 78, line  # two more columns indent the help
            assert line.startswith("  popbias "), line
        for parameter in command.params:
            text = parameter.help or ""
            assert text[:1].isupper(), (command.name, parameter.name)
            assert text.endswith("."), (command.name, parameter.name)


def test_examples_are_commands():
    """Every example has a command and options that there are, and all arguments that it needs."""
    group = typer.main.get_command(cli.app)
    shown = re.findall(
        r"^  popbias (.*)$", "\n".join([group.help, *(each.help for each in group.commands.values())]), re.M
    )
    assert len(shown) > 2 * len(COMMANDS)
    for line in shown:
        name, *arguments = shlex.split(re.split(" [|>] ", line)[0])
        group.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("arguments", [["-h"], ["fit", "-h"], ["check", "-h"]])
def test_short_help_is_help(popbias, arguments):
    code, out, error = popbias(*arguments)
    assert (code, error) == (0, "")
    assert out == popbias(*arguments[:-1], "--help")[1]
    assert "Examples:\n" in out


def test_version(popbias):
    assert popbias("--version") == (0, f"popbias {pb.__version__}\n", "")


def test_doctor(popbias):
    code, out, _ = popbias("doctor")
    assert code == 0
    found = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert {"python", "torch", "pyro-ppl", "arviz", "threads", "device"} <= found.keys()
    assert "missing" not in (found["torch"], found["pyro-popbias"])


FIT = ["fit", "study.toml", "--out", "new"]
FAILURES = {
    "unknown key": ([*FIT, "--set", "training.epoch=3"], 2, "PB-C077: unknown key 'epoch'; did you mean 'epochs'?"),
    "unknown guide": ([*FIT, "--guide", "lognorml"], 2, "PB-C076: unknown guide 'lognorml'; did you mean 'lognormal'?"),
    "unknown model": ([*FIT, "--model", "addtive"], 2, "PB-C076: unknown model 'addtive'; did you mean 'additive'?"),
    "no assignment": ([*FIT, "--set", "training.epochs"], 2, "PB-C010: cannot read 'training.epochs'"),
    "out of range": ([*FIT, "--set", "training.epochs=0"], 2, "PB-C083: [training] epochs = 0: "),
    "no TOML": (["fit", "rows.csv", "--out", "new"], 2, "PB-C089: rows.csv is not valid TOML"),
    "ending": ([*FIT, "--data", "study.toml"], 2, "study.toml has an ending that is not read"),
    "no label": ([*FIT, "--set", "data.label=rated"], 3, "PB-D005: no column 'rated'"),
    "ratings": ([*FIT, "--set", "data.label=time"], 3, "positive_if"),
    "positives only": ([*FIT, "--data", "ones.csv"], 3, "PB-D062: the data have label 1 in all 3 rows"),
    "implicit": (
        ["fit", "bare.toml", "--out", "new", "--data", "rows.csv", "--set", "data.negatives=0"],
        3,
        "PB-D062: the data have no",
    ),
    "counts of the data": (
        [*FIT, "--set", "model.prior.source=counts", "--set", "model.prior.counts=rows.csv"],
        3,
        "PB-D122: counts is the file of the data itself",
    ),
    "population with labels": (
        [*FIT, "--set", "model.prior.source=population"],
        2,
        "PB-C090: prior source 'population'",
    ),
    "no rows": ([*FIT, "--data", "none.csv"], 3, "PB-D002: the data have 0 rows"),
    "no study": (["fit", "no.toml", "--out", "new"], 5, "PB-R022: cannot read no.toml: No such file"),
    "no data": ([*FIT, "--data", "no.csv"], 5, "no.csv: No such file"),
    "no path": (["fit", "bare.toml", "--out", "new"], 2, "PB-C014: bare.toml has no [data] path"),
    "full folder": (["fit", "study.toml", "--out", "full"], 5, "PB-R101: full exists and is not empty"),
    "no checkpoint": ([*FIT, "--resume"], 5, "PB-R103: new does not exist, so there is nothing to resume"),
    "no run": (["popularity", "new"], 5, "PB-R102: new holds no finished run"),
    "no such run": (["predict", "new", "pairs.csv", "-o", "out.csv"], 5, "PB-R102: new holds no finished run"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures(popbias, folder, folder_hash, name):
    (folder / "ones.csv").write_text("user,item,label\na,x,1\nb,x,1\na,y,1\n")
    (folder / "none.csv").write_text("user,item,label\n")
    (folder / "bare.toml").write_text('schema = 1\n[data]\nuser = "user"\nitem = "item"\n')
    (folder / "full").mkdir()
    (folder / "full" / "thesis.txt").write_text("mine")
    before = folder_hash(folder)
    arguments, expected, message = FAILURES[name]
    code, _, error = popbias(*arguments)
    assert code == expected, error
    assert error.startswith("error: PB-")
    assert error.count("\n") == 1
    assert message in error
    assert folder_hash(folder) == before


def test_failures_with_a_run(popbias, folder, folder_hash):
    assert popbias(*FIT)[0] == 0
    (folder / "strangers.csv").write_text("user,item\nnobody,i1\n")
    before = folder_hash(folder)
    for arguments, expected, message in [
        (["predict", "new", "strangers.csv", "-o", "out.csv"], 3, "PB-D048: 1 rows of unseen users (nobody)"),
        (["predict", "new", "pairs.csv", "--popularity", "forecast", "-o", "out.csv"], 2, "PB-C440: "),
        (["predict", "new", "pairs.csv", "-o", "out.xls"], 2, "PB-C008: out.xls has an ending"),
        (["predict", "new", "pairs.csv", "-o", "no/out.csv"], 5, "PB-R100: cannot write no/out.csv"),
        (["recommend", "new", "-k", "0", "-o", "out.csv"], 2, "PB-C084: k must be an integer >= 1"),
        (["fit", "study.toml", "--out", "new"], 5, "PB-R101: new exists and is not empty"),
        ([*FIT, "--resume", "--set", "training.seed=9"], 5, "PB-R097: "),
    ]:
        code, _, error = popbias(*arguments)
        assert (code, error.count("\n")) == (expected, 1), error
        assert message in error
        assert folder_hash(folder) == before, arguments


@pytest.mark.slow
def test_a_flipped_bit_has_one_line_and_no_traceback(popbias, folder, folder_hash):
    assert popbias(*FIT)[0] == 0
    path = folder / "new" / "parameters.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    before = folder_hash(folder)
    done = run("popularity", "new")
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.count("\n") == 1
    assert "PB-R095: new/parameters.safetensors is not what was written" in done.stderr
    assert folder_hash(folder) == before


def parameters(folder, name):
    return (folder / name / "parameters.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 4])
def test_interrupted_fit_is_resumed_bit_for_bit(popbias, folder, monkeypatch, epochs):
    assert popbias("fit", "study.toml", "--out", "whole")[0] == 0
    with monkeypatch.context() as patch:
        left = iter(range(epochs - 1))

        def interrupt(*_):
            if next(left, None) is None:
                raise KeyboardInterrupt

        patch.setattr(TrainingProgress, "__call__", interrupt)
        code, _, error = popbias("fit", "study.toml", "--out", "stopped")
    assert (code, error.strip()) == (130, "interrupted; continue with --resume")
    assert len(list((folder / "stopped" / "checkpoints").glob("*.json"))) == min(epochs, 2)
    assert popbias("popularity", "stopped")[0] == 5
    assert popbias("fit", "study.toml", "--out", "stopped", "--resume")[0] == 0
    assert parameters(folder, "stopped") == parameters(folder, "whole")
    assert popbias("fit", "study.toml", "--out", "stopped", "--resume")[0] == 0  # a finished run stays as it is
    assert parameters(folder, "stopped") == parameters(folder, "whole")


@pytest.mark.slow
def test_killed_fit_is_resumed_bit_for_bit(popbias, folder):
    arguments = ["fit", "study.toml", "--set", "training.epochs=25", "--set", "training.validation=0.0"]
    child = subprocess.Popen(command(*arguments, "--out", "killed"), env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 600
    while not (folder / "killed" / "checkpoints" / "000003.json").exists() and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    last = max((folder / "killed" / "checkpoints").glob("*.json"))
    assert json.loads(last.read_text())["sha256"]
    assert popbias(*arguments, "--out", "killed", "--resume")[0] == 0
    assert not list((folder / "killed").rglob(".tmp-*"))
    assert popbias(*arguments, "--out", "whole")[0] == 0
    assert parameters(folder, "killed") == parameters(folder, "whole")
