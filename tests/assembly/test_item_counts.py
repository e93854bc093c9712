"""Given counts of items: tables and logs, and the refusal of rows that are fitted."""

import numpy as np
import pandas as pd
import pytest

from pyro_popbias.assembly.item_counts import _check_pairs, check_disjoint, count_items, read_counts
from pyro_popbias.errors import DataError, DataWarning, RunFolderError
from pyro_popbias.study.sections import DataConfig

ITEMS = pd.Index(["i0", "i1", "007"], dtype=str)
TABLE = pd.DataFrame({"item": ["i1", "other", "007"], "count": [3, 9, 1]})
LOG = pd.DataFrame({"user": ["u1", "u2", "u1", "u3"], "item": ["i1", "i1", "other", "007"]})
TWICE = r"would be used twice, and 95 % intervals of popularity then cover 84 %\. Give a table of another window"


def counts_of(given, **data):
    return count_items(read_counts(given, DataConfig(**data)), ITEMS).tolist()


def test_tables_and_logs():
    assert counts_of(TABLE) == [0, 3, 1]
    assert counts_of(LOG) == [0, 2, 1]
    assert counts_of(TABLE.astype({"count": float}).set_axis([5, 5, 5])) == [0, 3, 1]


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
@pytest.mark.parametrize("given", [TABLE, LOG])
def test_files_keep_ids_as_text(tmp_path, given, ending):
    path = tmp_path / f"counts{ending}"
    given.to_parquet(path) if ending == ".parquet" else given.to_csv(path, index=False)
    assert counts_of(str(path)) == counts_of(given)
    digits = given[given["item"] == "007"]  # alone, the column would be read as numbers
    digits.to_parquet(path) if ending == ".parquet" else digits.to_csv(path, index=False)
    assert counts_of(str(path)) == [0, 0, 1]


def test_columns_may_have_the_names_of_the_study():
    own = {"user": "userId", "item": "movieId"}
    assert counts_of(LOG.rename(columns=own), **own) == [0, 2, 1]
    assert counts_of(LOG, **own) == [0, 2, 1]
    assert list(read_counts(LOG.rename(columns=own), DataConfig(**own)).columns) == ["item", "user"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (TABLE.rename(columns={"item": "items"}), r"PB-D005: no column 'item'; did you mean 'items'\?"),
        (
            pd.concat([TABLE, TABLE]),
            r"PB-D050: counts has 3 items twice, first i1, other, 007; keep one row per item, or",
        ),
        (
            TABLE.assign(count=["3", "9", "1"]),
            "PB-D120: column 'count' of counts holds str values; counts are integers >= 0",
        ),
        (TABLE.assign(count=[True, False, True]), "PB-D120: column 'count' of counts holds bool values"),
        (
            TABLE.assign(count=[3, -1, 0.5]),
            "PB-D120: .* has 2 values that are not integers from 0 to 2.53, first at rows 1, 2",
        ),
        (TABLE.assign(count=[np.nan, np.inf, 1]), "PB-D120: .* has 2 values .* first at rows 0, 1"),
        (
            TABLE.assign(item=["a", "b", "c"]),
            "PB-D121: counts has none of the 3 items of the data; its ids are a, b, c, the",
        ),
        (
            TABLE.assign(count=[0, 5, 0]),
            "PB-D121: counts has 0 for all 2 items of the data that it holds; leave it out",
        ),
        (TABLE.assign(item=[None, "i1", "i0"]), "PB-D029: column 'counts.item' has 1 missing ids"),
        ([1, 2], "PB-D001: expected a DataFrame, got list"),
    ],
)
def test_counts_that_cannot_be_used(given, message):
    with pytest.raises(DataError, match=message) as caught:
        counts_of(given)
    assert caught.value.exit_code == 3


def test_missing_file(tmp_path):
    with pytest.raises(RunFolderError, match=r"PB-R022: cannot read .*none\.csv: No such file"):
        counts_of(str(tmp_path / "none.csv"))


def refused(given, events, message, **data):
    table = read_counts(given, DataConfig(**data))
    with pytest.raises(DataError, match=message):
        check_disjoint(given, table, count_items(table, events.items), events, DataConfig(**data))


@pytest.mark.parametrize("periods", [1, 3])
def test_counts_of_the_data_are_refused(events, frame, periods):
    events = events.with_periods(periods)
    rows = frame["item"].value_counts().reset_index()
    refused(
        rows, events, rf"PB-D122: counts has for all of its 15 items the number of their rows in the data: .*{TWICE}"
    )
    refused(frame[["item"]], events, "PB-D122: .* number of their rows in the data")
    positives = frame[frame["label"] == 1]
    refused(positives[["item"]], events, "PB-D122: .* number of their positives in the data")


def test_the_file_of_the_data_is_refused(events, frame, tmp_path, monkeypatch):
    frame.head(300).to_csv(tmp_path / "rows.csv", index=False)
    monkeypatch.chdir(tmp_path)
    message = rf"PB-D122: counts is the file of the data itself, .*rows\.csv: counts of the labels.*{TWICE}"
    refused("rows.csv", events, message, path=str(tmp_path / "rows.csv"))


def test_rows_of_pairs_in_the_data_are_refused(events, frame):
    later = pd.DataFrame({"user": ["u1", "new", "u2"], "item": ["i1", "i1", "new"]})
    log = pd.concat([frame[["user", "item"]].iloc[[5, 9]], later[1:]])
    first = f"({log['user'].iloc[0]}, {log['item'].iloc[0]})".replace("(", r"\(").replace(")", r"\)")
    refused(
        log, events, rf"PB-D123: 2 of the 4 rows of counts are of a user and an item with a row in .* {first}.*{TWICE}"
    )
    table = read_counts(later[1:], DataConfig())
    check_disjoint(later, table, count_items(table, events.items), events, DataConfig())


def test_a_part_of_the_data_is_refused_too(events, frame):
    number = frame["item"].value_counts().reset_index().head(9)
    refused(number, events, "PB-D122: counts has for all of its 9 items the number of their rows in the data")
    negatives = frame[frame["label"] == 0]
    refused(negatives[["item"]], events, "PB-D122: .* number of their negatives in the data")


def test_pairs_that_come_back_at_other_times_are_other_rows(events, frame):
    later = frame.assign(time=frame["time"] + 1000)
    data = DataConfig(time="time")
    for log in (later, frame.tail(10).assign(time=later["time"].tail(10))):
        table = read_counts(log[["user", "item", "time"]], data)
        _check_pairs(table, events)
    same = read_counts(frame.tail(10)[["user", "item", "time"]], data)
    with pytest.raises(DataError, match=r"PB-D123: 10 of the 10 rows of counts are of a user, an item and a time with"):
        _check_pairs(same, events)


def test_a_log_whose_users_have_another_name_warns(events, frame):
    with pytest.warns(DataWarning, match=r"PB-D125: the log of counts has no column of users \(user\) among who, item"):
        read_counts(frame[["user", "item"]].rename(columns={"user": "who"}), DataConfig())


def test_counts_beyond_the_whole_numbers_are_refused():
    with pytest.raises(
        DataError, match=r"PB-D120: .* has 1 values that are not integers from 0 to 2\^53, first at row"
    ):
        read_counts(pd.DataFrame({"item": ["a", "b"], "count": [1e300, 1.0]}), DataConfig())
