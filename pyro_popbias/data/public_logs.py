"""Public data sets in the files that their authors publish: MovieLens, Coat and Adressa. Nothing of them is shipped."""

import io
from pathlib import Path

import numpy as np
import pandas as pd

from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.periods import PeriodBy
from pyro_popbias.data.regular_files import opened
from pyro_popbias.data.table_files import read_table
from pyro_popbias.errors import DataError

MOVIELENS = ("ratings.csv", "ratings.dat", "u.data")  # of latest, 20M and 25M; of 1M and 10M; of 100K
COLUMNS = ["userId", "movieId", "rating", "timestamp"]


def read_movielens(
    path: str | Path, *, positive_if: str = ">=4", periods: int = 1, period_by: PeriodBy = "time"
) -> Interactions:
    """Return the ratings of MovieLens 100K, 1M, 10M, 20M, 25M or latest as labelled interactions.

    Args:
        path: the data set's folder, or its ratings.csv, ratings.dat or u.data.
        positive_if: which ratings are positives.
        periods: number of slices of time.
        period_by: "time" cuts slices of equal length, "count" slices of equally many rows.

    Raises:
        DataError: the file cannot be used as it is.
        RunFolderError: there is no such file.
    """
    file = _ratings(Path(path))
    if file.name == "u.data":
        frame = _lines(file, "\t")
    elif file.suffix == ".dat":
        frame = _lines(file, "::")
    else:
        frame = read_table(file, text=("userId", "movieId"))
    try:
        return Interactions.from_frame(
            frame,
            user="userId",
            item="movieId",
            label="rating",
            positive_if=positive_if,
            time="timestamp",
            periods=periods,
            period_by=period_by,
        )
    except DataError as error:
        raise DataError(f"{error} (in {file})") from error


def _ratings(path: Path) -> Path:
    """Return the file of ratings in a folder, or the path itself."""
    if not path.is_dir():
        return path
    return next((path / name for name in MOVIELENS if (path / name).exists()), path / MOVIELENS[0])


def _lines(file: Path, separator: str) -> pd.DataFrame:
    """Return the ratings of a file of lines without a header."""
    rows = [line.split(separator) for line in _read(file).splitlines() if line]
    wrong = [number for number, row in enumerate(rows, start=1) if len(row) != len(COLUMNS)]
    if wrong:
        raise DataError(
            f"PB-D372: {len(wrong)} lines of {file} are not {separator.join(COLUMNS)}, first line {wrong[0]}"
        )
    frame = pd.DataFrame(rows, columns=COLUMNS)
    try:
        return frame.assign(rating=pd.to_numeric(frame["rating"]), timestamp=pd.to_numeric(frame["timestamp"]))
    except ValueError as error:
        raise DataError(f"PB-D372: {file} has ratings or times that are not numbers: {error}") from None


def read_adressa(folder: str | Path) -> tuple[Interactions, Interactions]:
    """Return train and test of Adressa in the split of MACR (Wei et al. 2021), whose test has four rows of every item.

    Args:
        folder: it holds train.txt and test.txt, lines of a user and the items read.

    Raises:
        DataError: a line is not one of integers.
        RunFolderError: a file is missing.
    """
    train, test = (_adjacency(Path(folder) / f"{name}.txt") for name in ("train", "test"))
    return Interactions.from_frame(train), Interactions.from_frame(test)


def _adjacency(file: Path) -> pd.DataFrame:
    """Return user and item of lines "user item item ..."."""
    lines = [line.split() for line in _read(file).splitlines()]
    wrong = [number for number, line in enumerate(lines, start=1) if not all(part.isdigit() for part in line)]
    if wrong:
        raise DataError(f"PB-D372: {len(wrong)} lines of {file} are not user and items, first line {wrong[0]}")
    rows = [(user, item) for user, *items in filter(None, lines) for item in items]
    return pd.DataFrame(rows, columns=["user", "item"])


def read_coat(folder: str | Path, *, positive_if: str = ">=4") -> tuple[Interactions, Interactions]:
    """Return train and test of Coat (Schnabel et al. 2016): coats that users chose to rate, and coats drawn at random.

    Both have the features of users and items.

    Args:
        folder: it holds train.ascii, test.ascii and user_item_features.
        positive_if: which ratings are positives.

    Raises:
        DataError: a file is not a table of numbers.
        RunFolderError: a file is missing.
    """
    folder = Path(folder)
    features = {side: _coat_features(folder / "user_item_features", side) for side in ("user", "item")}
    train, test = (_coat_ratings(folder / f"{name}.ascii", positive_if) for name in ("train", "test"))
    return tuple(  # type: ignore[return-value]  # two of them
        each.with_features(user_features=features["user"], item_features=features["item"]) for each in (train, test)
    )


def _coat_ratings(file: Path, positive_if: str) -> Interactions:
    rating = _numbers(file)
    user, item = np.nonzero(rating)
    frame = pd.DataFrame({"user": user, "item": item, "rating": rating[user, item]})
    return Interactions.from_frame(frame, label="rating", positive_if=positive_if)


def _coat_features(folder: Path, side: str) -> pd.DataFrame:
    """Return the features of users or items by id, named by the file that lists their names."""
    values, names = _numbers(folder / f"{side}_features.ascii"), _read(folder / f"{side}_features_map.txt").split("\n")
    names = [name for name in names if name]
    if len(names) != values.shape[1]:
        raise DataError(f"PB-D372: {folder} has {values.shape[1]} {side} features and {len(names)} names of them")
    return pd.DataFrame(values, columns=names, index=[str(row) for row in range(len(values))])


def _numbers(file: Path) -> np.ndarray:
    """Return the table of numbers in a file, `(rows, columns)`."""
    try:
        return np.atleast_2d(np.array([line.split() for line in _read(file).splitlines() if line], dtype=float))
    except ValueError as error:
        raise DataError(f"PB-D372: {file} is not a table of numbers: {error}") from None


def _read(file: Path) -> str:
    """Return a file's text.

    Raises:
        RunFolderError: it cannot be read.
    """
    with opened(file) as content:
        return io.StringIO(content.read().decode("latin-1"), newline=None).read()  # any kind of newline
