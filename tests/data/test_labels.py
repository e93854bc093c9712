import numpy as np
import pandas as pd
import pytest

from pyro_popbias.data.labels import as_labels, parse_rule
from pyro_popbias.errors import ConfigError, DataError


@pytest.mark.parametrize(
    "values",
    [
        [0, 1, 1],
        [0.0, 1.0, 1.0],
        [False, True, True],
        pd.array([0, 1, 1], dtype="Int64"),
        pd.array([False, True, True], dtype="boolean"),
    ],
)
def test_labels_as_they_are(values):
    labels = as_labels(pd.Series(values), "label", None)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(
            [0, 1, 2, 2, -1], r"PB-D052: column 'label'.*found 2 other values in 3 of 5 rows \(2 x2, -1 x1", id="52"
        ),
        pytest.param([0, 0.5], r"PB-D052: .*1 other value in 1 of 2 rows \(0\.5 x1; first at row 1\)", id="52 half"),
        pytest.param([0, np.inf], r"PB-D463: .*1 infinite labels in 2 rows, first at row 1", id="54"),
        pytest.param([0j, 1 + 2j], r"PB-D056: .*complex128 values", id="57 complex"),
        pytest.param([0.9, 1.0], r"PB-D052: .*0\.9 x1", id="59 no cast before the check"),
        pytest.param([1, 2, 3, 4, 5], r"PB-D052: .*positive_if='>=3'", id="58"),
        pytest.param([0.0, np.nan], r"PB-D053: .*1 missing labels in 2 rows, first at row 1", id="53"),
        pytest.param(pd.array([0, None], dtype="Int64"), r"PB-D053: .*1 missing", id="61"),
        pytest.param(["0", "1"], r"PB-D056: .*'0', '1', not numbers; map them to 0 and 1", id="56 digits"),
        pytest.param(["yes", "no"], r"PB-D056: .*'yes', 'no'.*\.map\(", id="56 words"),
        pytest.param(pd.Series([1, "no"], dtype=object), r"PB-D056: .*object values such as 1, 'no'", id="57"),
    ],
)
def test_other_labels_are_refused(values, message):
    column = pd.Series(values)
    before = column.copy(deep=True)
    with pytest.raises(DataError, match=message) as caught:
        as_labels(column, "label", None)
    assert caught.value.exit_code == 3
    pd.testing.assert_series_equal(column, before)


@pytest.mark.parametrize(
    ("values", "advised"),
    [
        ([1, 5, 1, 1], ">=5"),
        ([1, 5, 5, 5], ">=5"),
        ([0.5, 0.5, 0.5, 4.0], ">=4"),
        ([-1, 1, -7], ">=-1"),
        ([1234567.25, 1234567.5], ">=1234567.5"),
    ],
)
def test_advised_rule_makes_both_labels(values, advised):
    column = pd.Series(values, dtype="float64")
    with pytest.raises(DataError, match=f"PB-D052: .*positive_if='{advised}'$"):
        as_labels(column, "label", None)
    assert set(as_labels(column, "label", advised)) == {0, 1}


def test_a_rule_makes_no_label_of_infinity():
    with pytest.raises(DataError, match="PB-D463: column 'label' has 2 infinite labels"):
        as_labels(pd.Series([np.inf, 3.0, -np.inf]), "label", ">=4")


def test_one_value_has_no_rule():
    with pytest.raises(DataError, match=r"PB-D052: .*All rows have one value.*leave label out"):
        as_labels(pd.Series([2, 2]), "label", None)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (">=4", [0, 1, 1]),
        (">4", [0, 0, 1]),
        ("<= 4", [1, 1, 0]),
        ("<4", [1, 0, 0]),
        ("==4.0", [0, 1, 0]),
        ("!=4", [1, 0, 1]),
        (" >= 4e0 ", [0, 1, 1]),
    ],
)
def test_rules(rule, expected):
    assert as_labels(pd.Series([3.5, 4.0, 4.5]), "rating", rule).tolist() == expected


@pytest.mark.parametrize("rule", ["", "4", ">=", ">=four", "=>4", ">=4 or <1", ">=nan", ">=inf", "__import__('os')"])
def test_rules_that_cannot_be_read(rule):
    with pytest.raises(ConfigError, match=r"PB-C004: positive_if=.*write for example '>=4'") as caught:
        parse_rule(rule)
    assert caught.value.exit_code == 2


def test_rule_does_not_excuse_missing_labels():
    with pytest.raises(DataError, match=r"PB-D053: column 'rating'"):
        as_labels(pd.Series([5.0, np.nan]), "rating", ">=4")


def test_five_of_many_other_values_are_shown():
    with pytest.raises(DataError, match=r"7 other values in 7 of 8 rows \((\d x1, ){4}\d x1; first"):
        as_labels(pd.Series([1, 2, 3, 4, 5, 6, 7, 8]), "label", None)
