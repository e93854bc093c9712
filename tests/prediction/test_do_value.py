"""do(z = value): which numbers and mappings are taken, and what they give."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from torch.distributions import constraints

from pyro_popbias.errors import ConfigError, DataError
from pyro_popbias.prediction.do_value import read_do_value


@pytest.mark.parametrize("number", [1, 1.5, np.float32(1.5), np.int64(2), Fraction(1, 2)])
def test_numbers_are_taken(number):
    found = read_do_value(number, constraints.positive)
    assert found.is_shared
    assert found.of(pd.Index(["a", "b"])).tolist() == [float(number)] * 2


@pytest.mark.parametrize("number", [0, -1.5, np.nan, np.inf, True, np.float64("nan"), 10**400])
def test_numbers_outside_the_support_are_refused(number):
    with pytest.raises(ConfigError, match=r"PB-C360: popularity=.* must be a finite number > 0"):
        read_do_value(number, constraints.positive)


def test_a_real_popularity_may_be_negative():
    assert read_do_value(-2, constraints.real).value == -2.0
    assert read_do_value(0, constraints.real).value == 0.0
    with pytest.raises(ConfigError, match=r"PB-C360: popularity=inf must be a finite number$"):
        read_do_value(np.inf, constraints.real)


def test_anything_else_is_neither():
    for value in ("1.5", None, [1.0], np.array([1.0]), pd.Series([1.0]), 1j, np.bool_(True)):
        assert read_do_value(value, constraints.positive) is None


def test_a_mapping_answers_by_item_in_any_order():
    found = read_do_value({"b": 2, "a": np.float32(1), "c": 3.0}, constraints.positive)
    assert not found.is_shared
    assert found.of(pd.Index(["a", "b", "a"])).tolist() == [1.0, 2.0, 1.0]
    assert read_do_value({7: 1.0, 8: 2.0}, constraints.positive).of(pd.Index(["8", "7"])).tolist() == [2.0, 1.0]
    assert read_do_value({}, constraints.positive).of(pd.Index([], dtype=str)).tolist() == []


def test_items_without_a_value_are_counted_and_named():
    found = read_do_value({"a": 1.0}, constraints.positive)
    message = (
        r"PB-D360: popularity has no value for 4 of 5 items \(b, c, d, \.\.\.\); add them to the mapping, or pass a"
    )
    with pytest.raises(DataError, match=message):
        found.of(pd.Index(["a", "b", "b", "c", "d", "e"]))
    with pytest.raises(DataError, match=r"PB-D360: .* for 1 of 1 items \(b\); add"):
        read_do_value({}, constraints.positive).of(pd.Index(["b"]))


def test_wrong_values_of_a_mapping_are_counted_and_named():
    with pytest.raises(
        ConfigError, match=r"PB-C361: 2 of 3 values of popularity must be .* > 0 \('b': nan, 'c': True\)"
    ):
        read_do_value({"a": 1.0, "b": np.nan, "c": True}, constraints.positive)
    with pytest.raises(ConfigError, match=r"PB-C361: 1 of 1 values .* \('a': 'x'\)"):
        read_do_value({"a": "x"}, constraints.real)
    with pytest.raises(DataError, match="PB-D036: column 'popularity' has mixed id types: int, str"):
        read_do_value({1: 1.0, "1": 2.0}, constraints.positive)
