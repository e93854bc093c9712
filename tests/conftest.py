import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_popbias as pb

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


@pytest.fixture
def frame():
    return tiny_frame()


@pytest.fixture
def events(frame):
    return pb.Interactions.from_frame(frame, label="label", time="time")


@pytest.fixture
def movielens():
    if not (MOVIELENS / "ratings.csv").exists():
        pytest.skip(f"needs the MovieLens ratings in {MOVIELENS.name}, beside the checkout")
    return MOVIELENS


@pytest.fixture(scope="session")
def reference():
    if not REFERENCE.exists():
        pytest.skip(f"needs the reference values {REFERENCE.name}, beside the checkout")
    return json.loads(REFERENCE.read_text())["records"]
