"""Rows 52 to 75: labels, weights and times."""

from pathlib import Path

import pandas as pd

from bad_inputs.row import Row
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import DataError

STUDY = '[data]\npath = "rows.csv"\nuser = "user"\nitem = "item"\nlabel = "label"\n[training]\nepochs = 1\n'
FIT = ("fit", "study.toml", "--out", "run")


def frame_with(**columns: list[object]) -> pd.DataFrame:
    """Return six rows of three users and items, with other columns."""
    frame = pd.DataFrame({"user": ["a", "a", "b", "b", "c", "c"], "item": ["x", "y", "x", "z", "y", "z"]})
    return frame.assign(**({"label": [0, 1, 0, 1, 1, 0]} | columns))


def written(frame: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Write a frame and a study of it, and return it."""
    frame.to_csv(folder / "rows.csv", index=False)
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    return frame


def read(folder: Path, frame: pd.DataFrame) -> Interactions:
    """Make interactions of a frame."""
    return Interactions.from_frame(frame, user="user", item="item", label="label")


ROWS = [
    Row(
        *(52, "label 2", read, DataError, r"found 1 other value"),
        prepare=lambda folder: written(frame_with(label=[0, 1, 2, 1, 1, 0]), folder),
        arguments=FIT,
        exit_code=3,
    ),
]
