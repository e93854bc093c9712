import numpy as np
import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.data.ids import as_text, examples
from pyro_popbias.errors import DataError, DataWarning


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        pytest.param(["007", "7", "NA", "1e5"], ["007", "7", "NA", "1e5"], id="text stays"),
        pytest.param(np.array([3, 2**62]), ["3", str(2**62)], id="integers"),
        pytest.param(np.array([2**64 - 1], dtype="uint64"), [str(2**64 - 1)], id="unsigned"),
        pytest.param(pd.array([2**53 + 1, 2**53], dtype="Int64"), [str(2**53 + 1), str(2**53)], id="nullable"),
        pytest.param([1.0, -4.0], ["1", "-4"], id="integral floats"),
        pytest.param(pd.Series([10**30, 1], dtype=object), [str(10**30), "1"], id="beyond int64"),
        pytest.param(pd.Categorical(["b", "a"], categories=["a", "b", "z"]), ["b", "a"], id="categorical"),
        pytest.param(pd.Series(["a", "b"], dtype=object), ["a", "b"], id="text in an object column"),
    ],
)
def test_ids_without_loss(ids, expected):
    assert as_text(pd.Series(ids), "user").tolist() == expected


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        pytest.param(["a", None, None], r"PB-D029: column 'user' has 2 missing ids in 3 rows.*rows 1, 2", id="29 none"),
        pytest.param([1.0, np.nan], r"PB-D029: column 'user' has 1 missing ids", id="29 nan"),
        pytest.param(pd.to_datetime(["2020-01-01", None]), r"PB-D029: .*1 missing", id="29 nat"),
        pytest.param(pd.array([1, None], dtype="Int64"), r"PB-D029: .*1 missing", id="29 nullable"),
        pytest.param([2.0**53, 2.0**53 + 2], r"PB-D035: .*2 ids are too large.*dtype=str", id="35"),
        pytest.param([1.0, 3.5, np.inf], r"PB-D037: .*2 ids that are not integers.*rows 1, 2", id="37"),
        pytest.param([1, "1", 1.0], r"PB-D036: .*mixed id types: float, int, str.*astype\(str\)", id="36 mixed"),
        pytest.param(pd.Series([1, True], dtype=object), r"PB-D036: .*bool, int", id="36 object"),
        pytest.param([True, False], r"PB-D036: .*booleans", id="36 booleans"),
        pytest.param(pd.to_datetime(["2020-01-01"]), r"PB-D036: .*datetime64.*text or integers", id="36 dates"),
        pytest.param(["a", "", ""], r"PB-D039: .*2 empty ids, first at rows 1, 2", id="39"),
    ],
)
def test_lossy_ids_are_refused(ids, message):
    column = pd.Series(ids)
    before = column.copy(deep=True)
    with pytest.raises(DataError, match=message) as caught:
        as_text(column, "user")
    assert caught.value.exit_code == 3
    assert isinstance(caught.value, ValueError)
    pd.testing.assert_series_equal(column, before)


def test_result_is_numbered_from_zero():
    assert as_text(pd.Series(["a", "b"], index=[7, 7]), "user").index.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([1], "row 1"), ([0, 2], "rows 0, 2"), ([0, 1, 2, 3], "rows 0, 1, 2, ...")],
)
def test_examples(rows, expected):
    assert examples(pd.Series([position in rows for position in range(5)])) == expected


def test_two_forms_of_one_number_are_told(tmp_path):
    (tmp_path / "log.csv").write_text("user,item\n1,x\n1.0,x\n2.,y\n2,x\n3.0,y\n-4.5,x\n")
    match = r"PB-D313: column 'user' holds 2 of 6 ids in two forms, '1' and '1\.0', '2' and '2\.', which .*str\.replace"
    with pytest.warns(DataWarning, match=match):
        events = pb.read_interactions(tmp_path / "log.csv")
    assert events.users.tolist() == ["1", "1.0", "2.", "2", "3.0", "-4.5"]


def test_one_form_is_quiet():
    frame = pd.DataFrame({"user": ["1.0", "2.0", "1e0"], "item": ["1", "01", "v1.0"]})
    assert len(pb.Interactions.from_frame(frame)) == 3
