"""Commands in several processes: `torchrun -m pyro_popbias fit`, and shards of recommendations."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.cli.choices import Part

FIT = ["fit", "study.toml", "--set", "training.phase_two=12", "--set", "model.affinity.posterior=point"]
ALONE = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}


def torchrun(*arguments):
    command = [Path(sys.executable).parent / "torchrun", "--nproc-per-node", "2", "-m", "pyro_popbias", *arguments]
    return subprocess.Popen(command, env=ALONE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def two_processes(*arguments):
    """Start two processes as torchrun does, but for ending one where the other has ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {**ALONE, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-m", "pyro_popbias", *arguments]
    return [
        subprocess.Popen(command, env={**together, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]


def same(one, other):
    for part in ("model", "guide"):
        ours, theirs = (getattr(fit, part).state_dict() for fit in (one, other))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    pd.testing.assert_frame_equal(one.history.drop(columns="seconds"), other.history.drop(columns="seconds"))


@pytest.mark.nightly
@pytest.mark.slow
def test_a_killed_process_ends_the_fit_which_resumes_bit_for_bit(folder):
    whole = torchrun(*FIT, "--out", "whole", "--restarts", "2")
    out, errors = whole.communicate(timeout=600)
    assert whole.returncode == 0, errors
    assert out.count("run folder: whole") == out.count("Interactions(") == 1  # by the first process alone
    assert errors.count("PB-C402") <= 2
    first, second = two_processes(*FIT, "--out", "killed", "--restarts", "2")
    while first.poll() is None and not list((folder / "killed" / "checkpoints").glob("00000[2-9].json")):
        time.sleep(0.02)
    second.kill()
    second.communicate(timeout=600)
    errors = first.communicate(timeout=600)[1]
    assert first.returncode == 7
    (message,) = (line for line in errors.splitlines() if line.startswith("error: "))
    assert message.startswith("error: PB-R150: another process of this fit did not answer when ")
    assert message.endswith("continue by the same command with --resume")
    resumed = torchrun(*FIT, "--out", "killed", "--restarts", "2", "--resume")
    assert resumed.communicate(timeout=600)[0].endswith("run folder: killed\n")
    same(pb.load("whole"), pb.load("killed"))


@pytest.mark.slow
def test_a_process_that_torchrun_ends_says_why(folder):
    first, second = two_processes(*FIT, "--out", "new", "--set", "training.epochs=100000")
    while first.poll() is None and not (folder / "new" / "checkpoints").is_dir():
        time.sleep(0.02)
    for process in (first, second):
        process.terminate()
    errors = [process.communicate(timeout=600)[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [7, 7], "\n".join(errors)
    assert "\nerror: PB-R15" in errors[0]
    assert "process 1: error: PB-R15" in errors[1]


@pytest.mark.slow
def test_other_commands_are_refused(folder):
    environment = {**ALONE, "WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    command = [sys.executable, "-m", "pyro_popbias", "compare", "run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: PB-C474: torchrun has started 2 processes of popbias compare, which would all"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("short_training")
def test_shards_are_the_whole_list(popbias, folder):
    assert popbias("fit", "study.toml", "--out", "run")[0] == 0
    for options in ([], ["--users", "pairs.csv"]):
        tables = []
        for shard in (None, "1/3", "2/3", "3/3"):
            chosen = [] if shard is None else ["--shard", shard]
            assert popbias("recommend", "run", "-k", "2", *options, *chosen, "-o", "top.csv")[0] == 0
            tables.append(pd.read_csv("top.csv"))
        pd.testing.assert_frame_equal(pd.concat(tables[1:], ignore_index=True), tables[0])
        assert all(0 < len(table) < len(tables[0]) for table in tables[1:])
    for shard in ("0/3", "4/3", "1", "1/", "a/b", "1/3/2", "-1/2", "1/0"):
        code, _, errors = popbias("recommend", "run", f"--shard={shard}", "-o", "top.csv")
        assert code == 2
        assert f"PB-C475: --shard {shard!r} is not i/n with 1 <= i <= n" in errors


@pytest.mark.parametrize("number", [0, 2, 7, 10])
def test_parts_hold_every_value_once(number):
    values = list(range(number))
    parts = [Part(k, 7).of(values) for k in range(1, 8)]
    assert [value for part in parts for value in part] == values
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
