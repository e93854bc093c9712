"""Exit codes of the contract, one example each and through the real command line."""

import os
import signal
import subprocess
import sys
import time

import pytest

SHORT = "from pyro_popbias.training import second_phase as t; t.AUTO = t.PhaseTwo(steps=5, cycle=3, most_cycles=2)\n"
MAIN = "from pyro_popbias.cli.app import main; main()"
DIVERGES = """\
from pyro_popbias.training import restarts
from pyro_popbias.errors import NumericalError
def train(*_, **__): raise NumericalError("PB-N001: phase 1, epoch 3: the loss is not finite")
restarts.train = train
"""
FAILS = """\
from pyro_popbias.checks import check
from pyro_popbias.checks.finding import Finding
check.CHECKS = (lambda fit, seed: ({}, [Finding("items", "click rate", 0.1, 0.05, False, "plain words")]),)
"""
FIT = ["fit", "study.toml", "--out"]
EXAMPLES = {
    "ok": (0, ["init", "-o", "new.toml"], ""),
    "no command": (2, [], ""),
    "unknown command": (2, ["ftt"], ""),
    "missing argument": (2, ["popularity"], ""),
    "missing option": (2, ["fit", "study.toml"], ""),
    "unknown option": (2, ["variants", "--wide"], ""),
    "wrong type": (2, ["recommend", "run", "-k", "ten", "-o", "out.csv"], ""),
    "study": (2, [*FIT, "new", "--set", "training.epochs=0"], ""),
    "data": (3, [*FIT, "new", "--set", "data.label=rated"], ""),
    "numerical": (4, [*FIT, "new"], DIVERGES),
    "missing file": (5, ["fit", "none.toml", "--out", "new"], ""),
    "run folder": (5, ["popularity", "none"], ""),
    "check": (6, ["check", "run"], FAILS),
}


def command(arguments, before=""):
    return [sys.executable, "-c", SHORT * bool(before) + before + MAIN, *arguments]


@pytest.mark.slow
@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("name", EXAMPLES)
def test_exit_code(popbias, folder, name):
    code, arguments, before = EXAMPLES[name]
    if name == "check":
        assert popbias(*FIT, "run")[0] == 0
    done = subprocess.run(command(arguments, before), capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    messages = [line for line in done.stderr.splitlines() if not line.startswith("warning: PB-C402")]
    assert "\n".join(messages).startswith("error: PB-") == (code > 2 or name == "study")


@pytest.mark.slow
def test_interrupted(folder):
    arguments = [*FIT, "new", "--set", "training.epochs=100000", "--set", "training.validation=0.0"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # an interrupted command of another test ignores it
    child = subprocess.Popen(command(arguments), stderr=subprocess.PIPE, text=True, env=os.environ)
    deadline = time.monotonic() + 300  # of a stuck command, not of a slow one
    while not list(folder.glob("new/checkpoints/*.json")) and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    error = child.communicate(timeout=300)[1]
    assert (child.returncode, error.splitlines()[-1]) == (130, "interrupted; continue with --resume")
