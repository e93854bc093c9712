"""Rows 52 to 75: labels, weights and times."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import pyro_popbias as pb
from bad_inputs.row import Row
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.table_files import write_table
from pyro_popbias.errors import ConfigError, DataError, DataWarning

STUDY = """\
[data]
path = "{name}"
user = "user"
item = "item"
label = "label"
{more}
[model]
affinity = {{ name = "embedding", dim = 2, posterior = "point", user_bias = false }}
[guide]
name = "point"
[training]
epochs = 1
phase_two = 0
validation = 0.0
device = "cpu"
"""
FIT = ("fit", "study.toml", "--out", "run")


def frame_with(**columns: list[object]) -> pd.DataFrame:
    """Return six rows of three users and items, with other columns."""
    frame = pd.DataFrame({"user": ["a", "a", "b", "b", "c", "c"], "item": ["x", "y", "x", "z", "y", "z"]})
    return frame.assign(**({"label": [0, 1, 0, 1, 1, 0]} | columns))


def short_study(dim: int = 2) -> pb.Study:
    """Return the study of a fit that takes moments.

    Args:
        dim: length of vectors.
    """
    training = {"epochs": 1, "phase_two": 0, "validation": 0.0, "device": "cpu"}
    affinity = {"name": "embedding", "dim": dim, "posterior": "point", "user_bias": False}
    return pb.Study(model={"affinity": affinity}, training=training)


def written(frame: pd.DataFrame, folder: Path, name: str = "rows.csv", more: str = "") -> pd.DataFrame:
    """Write a frame and a study of it, and return it.

    Args:
        frame: the rows.
        folder: to write to.
        name: of the file.
        more: lines of the study's [data].
    """
    write_table(frame, folder / name)
    (folder / "study.toml").write_text(STUDY.format(name=name, more=more), encoding="utf-8")
    return frame


def read(folder: Path, frame: pd.DataFrame) -> Interactions:
    """Make interactions of a frame."""
    return Interactions.from_frame(frame, user="user", item="item", label="label")


def fit_it(folder: Path, frame: pd.DataFrame) -> pb.Fit:
    """Fit a frame, without the warning of studies that leave popularity and quality as one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="PB-C402")
        return pb.fit(read(folder, frame), study=short_study(), progress=False)


def of_label(
    number: int,
    what: str,
    label: Any,
    message: str,
    *,
    answer: type[Exception] | None = DataError,
    name: str | None = "rows.csv",
    exit_code: int = 3,
    more: str = "",
) -> Row:
    """Return a row of labels, given from Python and, where a file can hold them, on the command line."""
    rule = {"positive_if": ">=4"} if "positive_if" in more else {}

    def call(folder: Path, frame: pd.DataFrame) -> Interactions:
        return Interactions.from_frame(frame, label="label", **rule)

    if name is None:
        return Row(number, what, call, answer, message, lambda folder: frame_with(label=label))
    return Row(
        *(number, what, call, answer, message),
        *(lambda folder: written(frame_with(label=label), folder, name, more), FIT, exit_code),
    )


def of_times(
    number: int, what: str, time: Any, message: str, *, answer: type[Exception] | None = DataError, file: bool = True
) -> Row:
    """Return a row of times, given from Python and, where a file can hold them, on the command line."""

    def call(folder: Path, frame: pd.DataFrame) -> Interactions:
        return Interactions.from_frame(frame, label="label", time="time")

    if not file:
        return Row(number, what, call, answer, message, lambda folder: frame_with(time=time))
    return Row(
        *(number, what, call, answer, message),
        *(lambda folder: written(frame_with(time=time), folder, "rows.parquet", 'time = "time"'), FIT),
        3 if answer is DataError else 0,
    )


def finite(folder: Path, frame: pd.DataFrame) -> None:
    """Fit a frame, and demand a posterior of finite numbers."""
    table = fit_it(folder, frame).popularity()
    if not np.isfinite(table[["mean", "sd", "lower", "upper"]]).all(axis=None):
        raise RuntimeError(f"popularity is {table}")


def fit_score(folder: Path, frame: pd.DataFrame) -> None:
    """Fit a frame whose affinities are its column score."""
    affinity = {"name": "fixed", "score": "score"}
    study = pb.Study(model={"affinity": affinity}, training={"epochs": 1, "phase_two": 0, "validation": 0.0})
    pb.fit(read(folder, frame), study=study, progress=False)


def of_score(number: int, what: str, score: list[float], answer: type[Exception] | None, message: str) -> Row:
    """Return a row of given affinities."""
    given = '{ name = "fixed", score = "score" }'
    return Row(
        *(
            number,
            what,
            fit_score,
            answer,
            message,
            lambda folder: written(frame_with(score=score), folder, "rows.parquet"),
        ),
        *((*FIT, "--set", f"model.affinity={given}"), 0 if answer is None else 3),
    )


def earlier_test(folder: Path, given: None) -> None:
    """Fit the later rows of a log, and evaluate on the earlier ones."""
    frame = frame_with(time=[4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    test = frame.assign(item=["z", "z", "y", "y", "x", "x"], label=1, time=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    train, test = (Interactions.from_frame(each, label="label", time="time") for each in (frame, test))
    pb.fit(train, study=short_study(), progress=False).evaluate(test, k=1)


def read_only(folder: Path, frame: pd.DataFrame) -> None:
    """Fit a frame whose arrays cannot be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*not writable.*")
        fit_it(folder, frame)


def not_writable() -> pd.DataFrame:
    """Return six rows in arrays that cannot be written to."""
    frame = frame_with()
    label = frame["label"].to_numpy().copy()
    label.setflags(write=False)
    return frame.assign(label=pd.Series(label, copy=False))


RULE = 'positive_if = ">=4"'
WEIGHTS = '[data]\npath = "rows.csv"\nuser = "user"\nitem = "item"\nlabel = "label"\nweight = "weight"\n'
YEAR_2020 = 1.6e9  # seconds
LABELS = [
    of_label(52, "2", [0, 1, 2, 1, 1, 0], r"PB-D052: .*found 1 other value in 1 of 6 rows \(2 x1; first at row 2\)"),
    of_label(52, "-1", [0, 1, -1, 1, -1, 0], r"PB-D052: .*\(-1 x2; first at rows 2, 4\)"),
    of_label(52, "one half", [0, 1, 0.5, 1, 1, 0], r"PB-D052: .*\(0\.5 x1"),
    of_label(53, "NaN", [0, 1, np.nan, 1, 1, 0], "PB-D053: .*1 missing labels in 6 rows, first at row 2"),
    of_label(54, "infinite", [0, 1, np.inf, 1, 1, 0], "PB-D463: .*1 infinite labels in 6 rows, first at row 2"),
    of_label(54, "infinite rating", [5, 1, -np.inf, 4, 1, 3], "PB-D463: .*1 infinite labels", more=RULE),
    of_label(54, "word inf", ["0", "1", "inf", "1", "1", "0"], "PB-D463: .*1 infinite|PB-D056: .*'inf'"),
    of_label(55, "booleans", [False, True] * 3, "", answer=None, exit_code=0),
    of_label(56, "digits as text", ["0", "1"] * 3, r"PB-D056: .*'0', '1', not numbers; map them", name="rows.parquet"),
    of_label(56, "yes and no", ["no", "yes"] * 3, r"PB-D056: .*'no', 'yes'.*\.map\("),
    of_label(57, "mixed", [0, "no", 1.0, 1, 1, 0], "PB-D056: .*object values such as 0, 'no'", name=None),
    of_label(57, "complex", [0j, 1 + 1j, 0, 1, 1, 0], "PB-D056: .*complex128 values", name=None),
    of_label(58, "ratings", [1, 5, 3, 4, 2, 5], "PB-D052: .*for example positive_if='>=4'"),
    of_label(58, "ratings with a rule", [1, 5, 3, 4, 2, 5], "", answer=None, exit_code=0, more=RULE),
    of_label(59, "nearly 1", [0, 1, 0.9, 1, 1, 0], r"PB-D052: .*\(0\.9 x1"),
    of_label(60, "missing in floats", [0.0, 1.0, np.nan, 1.0, 1.0, np.nan], "PB-D053: .*2 missing labels"),
    of_label(61, "nullable", pd.array([0, 1, None, 1, 1, 0], "Int64"), "PB-D053: .*1 missing", name="rows.parquet"),
    Row(
        *(62, "positives only", fit_it, DataError, "PB-D062: .*label 1 in all 6 rows.*negatives are drawn"),
        *(lambda folder: written(frame_with(label=[1] * 6), folder), FIT, 3),
    ),
    Row(
        *(63, "negatives only", fit_it, DataError, "PB-D063: .*label 0 in all 6 rows"),
        *(lambda folder: written(frame_with(label=[0] * 6), folder), FIT, 3),
    ),
    Row(
        *(64, "one class for an item", finite, None, ""),
        *(lambda folder: written(frame_with(label=[1, 0, 1, 1, 1, 1]), folder), FIT),
    ),
    Row(
        *(65, "rows three times", read, DataWarning, "PB-D311: 12 of 18 rows repeat an earlier .*drop_duplicates"),
        *(lambda folder: written(pd.concat([frame_with()] * 3, ignore_index=True), folder), FIT),
    ),
    Row(
        *(66, "both labels of a pair", read, None, ""),
        *(lambda folder: written(frame_with(user=["a"] * 2 + ["b"] * 4, item=["x"] * 3 + ["y"] * 3), folder), FIT),
    ),
]
NUMBERS = [
    Row(
        *(67, "weights", lambda folder, given: pb.Study.from_toml(folder / "study.toml"), ConfigError),
        "unknown key 'weight'.*Keys: path, user",
        *(lambda folder: (folder / "study.toml").write_text(WEIGHTS), FIT, 2),
    ),
    of_score(
        68, "score missing", [0.1, np.nan, 0.3, 0.4, 0.5, 0.6], DataError, "PB-D068: .*1 scores that are missing or not"
    ),
    of_score(
        68, "score infinite", [0.1, np.inf, 0.3, 0.4, 0.5, 0.6], DataError, "PB-D068: column 'score' has 1 scores"
    ),
    of_score(68, "score outside of 0 to 1", [-7.0, 9.0, 0.3, 0.4, 0.5, 0.6], None, ""),
    of_score(69, "score 0 with label 1", [0.1, 0.0, 0.3, 0.0, 0.0, 0.6], None, ""),
    of_score(70, "score 1", [1.0] * 6, None, ""),
    of_times(
        *(71, "naive and aware", [pd.Timestamp("2020-01-01"), *[pd.Timestamp("2020-01-01", tz="UTC")] * 5]),
        "PB-D071: .*object values, not times.*pandas.to_datetime",
        file=False,
    ),
    of_times(71, "complex", [1j, 2, 3, 4, 5, 6], "PB-D071: .*complex128 values, not times", file=False),
    of_times(
        *(72, "seconds and milliseconds", [YEAR_2020, *[1e3 * YEAR_2020 + n for n in range(5)]]),
        "PB-D072: .*mixes units of Unix times in 6 rows: 1 in seconds, 5 in milliseconds",
    ),
    of_times(
        *(72, "over 50 years", [-YEAR_2020, *[YEAR_2020 + n for n in range(5)]]),
        "PB-D460: .*times 101 years apart, .*first at row 0",
    ),
    of_times(
        *(72, "year 9999", np.array(["2020-01-01"] * 5 + ["9999-01-01"], dtype="datetime64[s]")),
        "PB-D469: .*from 2020-01-01 00:00:00 to 9999-01-01",
    ),
    of_times(73, "NaT", pd.to_datetime(["2020-01-01", None] * 3), "PB-D073: .*3 missing times", answer=DataError),
    of_times(73, "infinite time", [1.0, np.inf, 3.0, 4.0, 5.0, 6.0], "PB-D073: .*1 infinite times in 6 rows"),
    of_times(
        *(73, "future", pd.to_datetime(["2020-01-01"] * 5 + ["2060-01-01"])),
        "PB-D462: .*1 of 6 times in the future, up to 2060-01-01",
        answer=DataWarning,
    ),
    of_times(
        *(73, "epoch", pd.to_datetime(["2015-01-01"] * 5 + ["1970-01-01"])),
        "PB-D461: .*1 of 6 times on 1970-01-01",
        answer=DataWarning,
    ),
    Row(74, "test before training", earlier_test, DataWarning, "PB-D467: 6 of the 6 rows of the test are earlier"),
    Row(75, "read-only arrays", read_only, None, "", lambda folder: not_writable()),
]
ROWS = LABELS + NUMBERS
