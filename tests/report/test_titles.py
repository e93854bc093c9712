import pandas as pd
import pytest

from pyro_popbias.errors import DataError
from pyro_popbias.report.titles import read_titles


def test_titles(tmp_path):
    assert read_titles(None) == {}
    assert read_titles({1: "a", 2: None, 3: float("nan")}) == {"1": "a"}
    pd.DataFrame({"item": [1, 2], "title": ["a", None]}).to_csv(tmp_path / "titles.csv", index=False)
    assert read_titles(tmp_path / "titles.csv") == {"1": "a"}


def test_titles_that_cannot_be_used():
    with pytest.raises(DataError, match=r"PB-D160: titles has 1 duplicate items, first x; keep one row per item"):
        read_titles(pd.DataFrame({"item": ["x", "x"], "title": ["a", "b"]}))
    with pytest.raises(DataError, match="PB-D005: no column 'title'"):
        read_titles(pd.DataFrame({"item": ["x"]}))
