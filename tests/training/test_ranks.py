"""Several processes: real ones, by gloo."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).parent / "ranks_worker.py"


def environments(number):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    same = {"WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [{**os.environ, **same, "RANK": str(rank)} for rank in range(number)]


def facts(what, folder, number):
    """Return what each of several processes finds."""
    folder.mkdir()
    started = [
        subprocess.Popen([sys.executable, WORKER, what, folder], env=environment, stderr=subprocess.PIPE, text=True)
        for environment in environments(number)
    ]
    errors = [process.communicate(timeout=300)[1] for process in started]
    assert not any(process.returncode for process in started), "\n".join(errors)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(number)]


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    return facts("exact", tmp_path_factory.mktemp("exact") / "facts", 2)


def test_x(exact):
    print(json.dumps(exact, indent=1))
    assert 0
