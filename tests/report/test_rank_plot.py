"""The plot of ranks."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from pyro_popbias.checks.simulated_ranks import SimulatedRanks, between, by_chance, distance
from pyro_popbias.report.figure import as_png
from pyro_popbias.report.rank_plot import above_uniform, rank_plot


def ranks_of(items, rows=30):
    exact = np.random.default_rng(0).uniform(size=items)
    table = pd.DataFrame({"item": range(items), "rows": rows, "z": 1.0, "guide": exact**1.5, "exact": exact})
    return SimulatedRanks(table, "lognormal", None)


@pytest.fixture
def found():
    return ranks_of(1_000)


def curves(ax):
    return {line.get_label(): line.get_xydata() for line in ax.get_lines() if not line.get_label().startswith("_")}


def test_it_takes_axes_and_returns_them(found):
    ax = Figure().subplots()
    assert rank_plot(found, ax) is ax
    own = rank_plot(found)
    assert own is not ax
    assert as_png(own).startswith(b"\x89PNG")
    assert own.get_title() == "Ranks of 1000 simulated items"


def test_curves_are_shares_of_ranks_above_the_diagonal(found):
    drawn = curves(rank_plot(found))
    assert list(drawn) == ["exact posterior (control)", "guide lognormal"]
    for label, column in (("guide lognormal", "guide"), ("exact posterior (control)", "exact")):
        u, excess = drawn[label].T
        ranks = found.table[column].to_numpy()
        np.testing.assert_allclose(excess[300], (ranks <= u[300]).mean() - u[300])
        # on 1,001 points the largest deviation is missed by a thousandth, or one item, at most
        assert np.abs(excess).max() == pytest.approx(distance(ranks), abs=2e-3)
    both = drawn["guide lognormal"][:, 1] - drawn["exact posterior (control)"][:, 1]
    assert np.abs(both).max() == pytest.approx(between(found.table["guide"], found.table["exact"]), abs=3e-3)


def test_the_band_holds_for_all_ranks_together(found):
    (band,) = rank_plot(found).patches
    assert band.get_height() / 2 == pytest.approx(by_chance(1_000, 0.05))
    assert by_chance(1_000, 0.05) == pytest.approx(1.358 / np.sqrt(1_000), abs=1e-4)


def test_everything_is_inside_the_axes(found):
    ax = rank_plot(found)
    low, high = ax.get_ylim()
    for line in curves(ax).values():
        assert low < line[:, 1].min() < line[:, 1].max() < high


def test_items_with_few_rows_are_left_out():
    rows = np.where(np.arange(1_000) < 900, 3, 20)
    assert rank_plot(ranks_of(1_000, rows)).get_title() == "Ranks of 100 simulated items"
    nothing = rank_plot(ranks_of(10, 3))
    assert nothing.get_title() == "Ranks of 0 simulated items"
    assert as_png(nothing)


def test_no_ranks_are_nowhere():
    assert above_uniform(np.zeros(0), np.linspace(0, 1, 3)).tolist() == [0, 0, 0]
