"""Texts that would like to be active, in every place they come out."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from faults.sinks import SINKS, active, payloads

DRAWN = {"titles in a report", "ids in a report", "names in a report", "pictures"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in DRAWN)) for name in SINKS])
def test_nothing_is_active(name):
    texts = payloads()
    assert len(set(texts)) == 200
    assert active(name, texts) == []
