"""A random walk's step is recovered, its forecasts hold the truth as often as they say, and they are worth having."""

import importlib
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
if str(FOLDER) not in sys.path:
    sys.path.append(str(FOLDER))
forecast = importlib.import_module("forecast")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:PB-C443")]
STEP, SEEDS, ITEMS = 0.4, range(2), 80


@cache
def figures():
    """Return a row for each guide and seed."""
    brief = {"rows": 2_500, "items": ITEMS, "epochs": 15, "phase_two": 12, "device": "cpu"}
    return pd.DataFrame([row for seed in SEEDS for row in forecast.figures(STEP, seed, **brief)])


def of(q):
    return figures().query("q == @q")


@pytest.mark.nightly
def test_the_step_is_recovered():
    learned, steps = of("markov")["learned"], ITEMS * (forecast.PERIODS - 2)
    # that of one who sees z itself: a fit that sees labels has a larger one
    standard_error = STEP / np.sqrt(2 * steps * len(learned))
    assert abs(learned.mean() - STEP) <= 3 * standard_error


@pytest.mark.nightly
def test_a_guide_without_correlation_learns_a_larger_step():
    assert (of("mean-field")["learned"].to_numpy() > 1.2 * of("markov")["learned"].to_numpy()).all()


@pytest.mark.nightly
def test_intervals_of_forecasts_hold_the_truth():
    assert 0.85 <= of("markov")["cover"].mean() <= 0.95


@pytest.mark.nightly
@pytest.mark.parametrize("other", ["over_last", "over_all"])
def test_forecasts_beat_the_last_period_and_all_periods_as_one(other):
    table = of("markov")
    weight = table["rows"] / table["rows"].sum()
    mean, square = ((weight * table[f"{other}_{part}"]).sum() for part in forecast.SCORES)
    assert mean > 2 * np.sqrt((square - mean**2) / table["rows"].sum())
