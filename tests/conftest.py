import errno
import hashlib
import json
import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb
from pyro_popbias.training import second_phase
from pyro_popbias.training.second_phase import PhaseTwo

SHARED = Path(__file__).parents[2] / "shared"
MOVIELENS = SHARED / "data" / "ml-latest-small"
REFERENCE = SHARED / "reference" / "reference_public.json"


def tiny_frame(*, users=20, items=15, rows=400, seed=0):
    rng = np.random.default_rng(seed)
    item = rng.integers(items, size=rows)
    return pd.DataFrame(
        {
            "user": [f"u{code}" for code in rng.integers(users, size=rows)],
            "item": [f"i{code}" for code in item],
            "label": (rng.random(rows) < 0.1 + 0.6 * item / items).astype(int),
            "time": rng.uniform(0, 100, rows),
        }
    )


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)  # a second thread costs more than it gains on data of this size


@pytest.fixture(scope="session")
def phase_two_as():
    """Return a context in which `phase_two = "auto"` is another schedule, for tests that reach training through `pb.fit`."""

    @contextmanager
    def use(**schedule):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(second_phase, "AUTO", PhaseTwo(**schedule))
            yield

    return use


@pytest.fixture(scope="module")
def short_training(phase_two_as):
    """Make phase two take moments, for the tests that only need some fit."""
    with phase_two_as(steps=5, cycle=3, most_cycles=2):
        yield


@pytest.fixture(scope="session")
def folder_hash():
    """Return a function: folder to SHA-256 of all names and contents in it."""

    def of(folder):
        files = sorted(path for path in Path(folder).rglob("*"))
        parts = [
            str(path.relative_to(folder)).encode() + (path.read_bytes() if path.is_file() else b"") for path in files
        ]
        return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()

    return of


@pytest.fixture
def full_disk():
    """Return a function that lets `after` calls of fsync succeed, then none."""

    def fill(monkeypatch, after):
        right, left = os.fsync, iter(range(after))

        def fsync(handle):
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            right(handle)

        monkeypatch.setattr(os, "fsync", fsync)

    return fill


@pytest.fixture(scope="session")
def model_for():
    """Return a function: guide to the name and prior of a model that it fits, the default where that is one."""
    table = pb.variants().query("allowed")

    def of(guide):
        fitting = table[table["guide"] == guide].set_index(["model", "prior"]).index
        model, prior = ("product", "gamma") if ("product", "gamma") in fitting else fitting[0]
        return {"name": model, "prior": {"name": prior}}

    return of


@pytest.fixture(scope="session")
def make_frame():
    return tiny_frame


@pytest.fixture
def frame():
    return tiny_frame()


@pytest.fixture
def events(frame):
    return pb.Interactions.from_frame(frame, label="label", time="time")


@pytest.fixture(scope="session")
def movielens():
    if not (MOVIELENS / "ratings.csv").exists():
        pytest.skip(f"needs the MovieLens ratings in {MOVIELENS.name}, beside the checkout")
    return MOVIELENS


@pytest.fixture(scope="session")
def shared_data():
    """Return the folder of real data sets beside the checkout."""
    if not (MOVIELENS.parent / "coat").exists():
        pytest.skip(f"needs the data sets in {MOVIELENS.parent.name}, beside the checkout")
    return MOVIELENS.parent


@pytest.fixture(scope="session")
def reference():
    if not REFERENCE.exists():
        pytest.skip(f"needs the reference values {REFERENCE.name}, beside the checkout")
    return json.loads(REFERENCE.read_text())["records"]


@pytest.fixture(scope="session")
def hostile():
    """Return 200 titles that would like to be scripts, formulas, templates, mathematics or paths."""
    scripts = [
        "<script>alert({n})</script>",
        "</td></tr></table><script src=//evil.example/{n}.js></script>",
        "<img src=x onerror=alert({n})>",
        '"><svg onload=alert({n})>',
        '<a href="javascript:alert({n})">x</a>',
        "</style><style>@import 'http://evil.example/{n}'</style>",
        "</title><base href=http://evil.example/{n}>",
        "<iframe srcdoc='<script>alert({n})</script>'></iframe>",
        "' onmouseover='alert({n})",
        "<!--{n}--><ScRiPt>alert(1)</sCrIpT>",
    ]
    formulas = [
        "=cmd|' /C calc'!A{n}",
        "+cmd|{n}",
        "-{n}+1+cmd|' /C calc'!A0",
        "@SUM(1+{n})*cmd|' /C calc'!A0",
        "=1+{n}",
    ]
    templates = [
        "{{{{ 7 * 7 }}}}{n}",
        "{{% for x in ().__class__.__base__.__subclasses__() %}}{n}{{% endfor %}}",
        "${{7*7}}{n}",
    ]
    mathematics = ["$\\frac{{{n}", "$\\input{{/etc/passwd}}${n}", "$$x^{{{n}}}$", "\\write18{{ls {n}}}"]
    paths = ["../../../etc/passwd{n}", "/etc/shadow{n}", "C:\\windows\\{n}"]
    other = ["\u202egnp.exe{n}", "nul\x00l{n}", "line\nfeed{n}", "{n}" + "x" * 100_000, "\u4e2d\u6587{n}"]
    kinds = [*scripts, *formulas, *templates, *mathematics, *paths, *other]
    return [kinds[n % len(kinds)].format(n=n) for n in range(200)]
