"""Worker processes: their results, errors, warnings and log come back, and none outlives the process that asked."""

import math
import os
import runpy
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.training.workers import at_once, one_thread, require_jobs, side_by_side

SLEEPERS = """
import os, signal, sys, threading, time
from multiprocessing import active_children
from pyro_popbias.training.workers import side_by_side

def stop():
    while len(active_children()) < 2:
        time.sleep(0.01)
    print(*(each.pid for each in active_children()), flush=True)
    time.sleep({after})
    os.kill(os.getpid(), signal.{signal})

threading.Thread(target=stop).start()
side_by_side(time.sleep, {{"one": (100,), "two": (100,)}}, 2, what="naps", show=False)
"""


def side(work, *pieces):
    return side_by_side(
        work, {f"piece {number}": each for number, each in enumerate(pieces)}, 2, what="pieces", show=False
    )


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_results_are_in_the_order_of_the_pieces():
    assert side(math.sqrt, (4.0,), (9.0,), (16.0,)) == [2.0, 3.0, 4.0]


@pytest.mark.nightly
@pytest.mark.slow
def test_workers_have_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert side(torch.get_num_threads, (), ()) == [1, 1]


def test_one_thread_is_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_an_error_ends_the_other_workers(tmp_path):
    late, early = tmp_path / "late.py", tmp_path / "early.py"
    late.write_text(f"import pathlib, time\ntime.sleep(30)\npathlib.Path({str(tmp_path / 'done')!r}).touch()\n")
    early.write_text("raise ValueError('too early')\n")
    with pytest.raises(ValueError, match="too early"):
        side(runpy.run_path, (str(late),), (str(early),))
    assert not (tmp_path / "done").exists()


@pytest.mark.slow
def test_an_error_is_raised_here_with_where_it_was():
    with pytest.raises(ValueError, match=r"nonnegative input|math domain error") as caught:
        side(math.sqrt, (-1.0,), (4.0,))
    assert "workers.py" in caught.value.__notes__[0]


@pytest.mark.slow
def test_a_warning_is_given_here():
    with pytest.warns(pb.DataWarning, match="few rows"):
        side(warnings.warn, ("few rows", pb.DataWarning), ("few rows", pb.DataWarning))


@pytest.mark.parametrize(
    ("work", "argument", "how"),
    [
        pytest.param(os._exit, 3, "ended with exit code 3", marks=pytest.mark.slow),
        (signal.raise_signal, 9, "was killed by signal 9"),
    ],
)
def test_a_worker_that_dies_is_an_error_in_words(work, argument, how):
    with pytest.raises(pb.WorkerError, match=rf"PB-C481: the worker of piece \d {how} and left no result; lower jobs"):
        side(work, (argument,), (argument,))


@pytest.mark.parametrize("jobs", [0, -1, 1.5, True, "2"])
def test_jobs_that_are_refused(jobs):
    with pytest.raises(pb.ConfigError, match=r"PB-C480: jobs must be an integer >= 1, not "):
        require_jobs(jobs)


@pytest.mark.nightly
@pytest.mark.slow  # workers import what training needs
@pytest.mark.parametrize("after", [0.0, 4.0])  # while workers start, and while they work
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_no_worker_is_left(name, after):
    done = subprocess.run(
        [sys.executable, "-c", SLEEPERS.format(signal=name, after=after)], capture_output=True, text=True, timeout=60
    )
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2, done.stderr
    assert done.returncode in (-signal.Signals[name], 128 + signal.Signals[name])
    until = time.monotonic() + 30
    while any(map(is_running, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_running, pids))


def test_as_many_at_once_as_there_are_pieces_and_jobs():
    assert [at_once(*each) for each in ((None, 5), (1, 5), (3, 5), (5, 5), (7, 5))] == [1, 1, 3, 5, 5]
