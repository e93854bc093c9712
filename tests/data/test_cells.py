"""Codes of cells are int32: more cells than that are refused before anything is made of them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pyro_popbias.data.catalogue import MOST_CELLS, require_cells
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.row_counts import RowCounts
from pyro_popbias.errors import ConfigError

ITEMS = 300_000


def log_of(items=ITEMS):
    """Return two rows of a catalogue of many items, whose ids take no memory."""
    user, item = np.array([0, 0], dtype=np.int32), np.array([0, items - 1], dtype=np.int32)
    return Interactions(pd.Index(["u"]), pd.RangeIndex(items), user, item, np.array([0, 1]), time=np.array([0.0, 1.0]))


@pytest.mark.filterwarnings("ignore:PB-D310")
def test_the_largest_number_has_the_right_codes():
    periods = MOST_CELLS // ITEMS
    cell = log_of().with_periods(periods).cell.astype(np.int64)
    assert cell.tolist() == [0, ITEMS * periods - 1]


@pytest.mark.filterwarnings("ignore:PB-D310")
def test_more_are_refused():
    message = r"PB-C500: 300,000 items in 7,200 periods are 2,160,000,000 cells.*use at most 7,158 periods"
    with pytest.raises(ConfigError, match=message):
        log_of().with_periods(7_200)
    with pytest.raises(ConfigError, match="PB-C500"):
        replace(log_of().with_periods(7_000), items=pd.RangeIndex(2 * ITEMS))
    with pytest.raises(ConfigError, match="PB-C500"):
        RowCounts(1, ITEMS, 7_200)


def test_limit():
    require_cells(MOST_CELLS, 1)
    with pytest.raises(ConfigError, match="use at most 1 periods"):
        require_cells(MOST_CELLS, 2)
