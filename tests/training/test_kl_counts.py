"""The KL of an item counts once per item: counted once per interaction it takes popularity out of the additive model."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import pyro_popbias as pb

FOLDER = Path(__file__).parents[2] / "benchmarks"
ITEMS, ROWS, SLOPE = 200, 8_000, 0.8
# of the standard deviation of 200 known Normal numbers: no estimate from their labels has less
STANDARD_ERROR = SLOPE / np.sqrt(2 * ITEMS)


@pytest.fixture(scope="module")
def kl_counts():
    """Return the benchmark, a script beside the package, as a module."""
    spec = importlib.util.spec_from_file_location("kl_counts", FOLDER / "kl_counts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def events():
    return pb.simulate(
        model="additive",
        affinity="linear",
        prior="normal",
        rate=SLOPE,
        users=1_000,
        items=ITEMS,
        interactions=ROWS,
        seed=0,
    ).events


def test_batches_count_rows_instead_of_cells(kl_counts, events):
    pair = kl_counts.pair_of(events, per_row=False)
    rows = kl_counts.CountedPerRow(pair.rows)
    present = (pair.rows.cell_count > 0).sum().item()
    for made, total in ((pair.rows, present), (rows, ROWS), (rows.with_draws(3), ROWS)):
        assert made.whole().weight.sum().item() == pytest.approx(total)
        # an epoch has each cell, or each row, once: batches of about equal size, each scaled up to all rows
        weights = [batch.weight.sum().item() / batch.scale for batch in made.batches(1_000, seed=0, epoch=0)]
        assert sum(weights) == pytest.approx(total, rel=1e-9)


@pytest.mark.nightly
@pytest.mark.slow
def test_slope_is_found_and_collapses_where_rows_are_counted(kl_counts, events):
    found = {per_row: kl_counts.path_of_slope(events, per_row=per_row) for per_row in (False, True)}
    # both start alike, and the slope of the second falls
    assert found[False][0] == pytest.approx(found[True][0], abs=0.1)
    assert found[False][-1] == pytest.approx(SLOPE, abs=3 * STANDARD_ERROR)
    assert abs(found[True][-1]) < 0.02
