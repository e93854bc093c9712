"""Side features of users or items: numbers, and categories as one feature per level, aligned to the ids of the data.

Features are sparse: each user or item has one entry per column of the frame, whatever the number of levels, so that M
columns cost M look-ups in a table of F rows and never a dense `(n, F)` matrix.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from pyro_popbias.data.ids import as_text
from pyro_popbias.errors import DataError, DataWarning

FAR = 10.0  # a column whose sd, or whose mean in sds, is above this is far from the unit of the coefficients' prior
EXAMPLES = 5
MOST_LEVELS = 0.5  # levels per row of a text column, above which it is as good as an id
FEW_LEVELS = 50  # so many are allowed in small catalogues, unless each row has one of its own
SMALL = 10  # rows, too few to tell a title from a category


@dataclass(frozen=True, eq=False)
class Features:
    """Side features of n users or items, in code order; F features from M columns.

    Attributes:
        names: `(F,)` a numeric column's own name, or "column=level".
        index: `(n, M)` int64, which feature each column is.
        value: `(n, M)` float32, the number, or 1 for a level.
    """

    names: tuple[str, ...]
    index: np.ndarray
    value: np.ndarray

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, ids: "pd.Index[str]", kind: Literal["user", "item"]) -> Self:
        """Return the features of some ids; rows of other ids are ignored.

        Args:
            frame: indexed by id; numbers, booleans, text or categories. It is not changed.
            ids: `(n,)` ids by code.
            kind: "user" or "item", for messages.

        Raises:
            DataError: the frame lacks ids, has duplicate ids or no columns, or holds values that cannot be used.
        """
        frame = _aligned(frame, ids, kind)
        where = f"{kind}_features"
        names: list[str] = []
        index, value = np.empty(frame.shape, np.int64), np.empty(frame.shape, np.float32)
        for position, name in enumerate(frame.columns):
            found, index[:, position], value[:, position] = _column(frame[name], f"{where} column {name!r}", kind)
            index[:, position] += len(names)
            names += found
        _refuse_repeated(pd.Index(names), where)
        _warn_of_scales(frame, where)
        return cls(tuple(names), index, value)

    def __len__(self) -> int:
        return len(self.index)

    def take(self, codes: np.ndarray) -> "Features":
        """Return the features of some rows; all names stay, so that the numbers of features do not change."""
        return Features(self.names, self.index[codes], self.value[codes])

    def to_frame(self, ids: "pd.Index[str]") -> pd.DataFrame:
        """Return a frame to store: id, index 0, value 0, index 1, ...; the names are in its `attrs`.

        Args:
            ids: `(n,)` ids by code.
        """
        columns: dict[str, Any] = {"id": ids}
        for position in range(self.index.shape[1]):
            columns[f"index {position}"] = self.index[:, position]
            columns[f"value {position}"] = self.value[:, position]
        frame = pd.DataFrame(columns)
        frame.attrs["names"] = list(self.names)
        return frame

    @classmethod
    def from_stored(cls, frame: pd.DataFrame) -> Self:
        """Return the features that `to_frame` gave, bit for bit."""
        positions = range(frame.shape[1] // 2)
        index = frame[[f"index {position}" for position in positions]].to_numpy(dtype=np.int64)
        value = frame[[f"value {position}" for position in positions]].to_numpy(dtype=np.float32)
        return cls(tuple(frame.attrs["names"]), index, value)

    def to_bytes(self) -> bytes:
        """Return what decides the features, for fingerprints."""
        return "\0".join(self.names).encode() + self.index.tobytes() + self.value.tobytes()


def _shown(names: Any) -> str:
    shown = ", ".join(map(str, names[:EXAMPLES]))
    return f"{shown}, ..." if len(names) > EXAMPLES else shown


def _aligned(frame: pd.DataFrame, ids: "pd.Index[str]", kind: str) -> pd.DataFrame:
    """Return the rows of the ids, in their order and indexed by them."""
    where = f"{kind}_features"
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"PB-D110: {where} is {type(frame).__name__}; give a DataFrame indexed by {kind} id")
    if not frame.shape[1]:
        raise DataError(
            f"PB-D110: {where} has no columns beside the {kind} ids; give at least one feature, or leave it out"
        )
    _refuse_repeated(frame.columns, where)
    known = pd.Index(as_text(frame.index.to_series(), f"{where}.{frame.index.name or 'index'}"))
    repeated = known[known.duplicated()].unique()
    if len(repeated):
        raise DataError(
            f"PB-D111: {where} has {len(repeated)} duplicate ids, first {_shown(repeated)}; keep one row per id"
        )
    position = known.get_indexer(ids)
    missing = ids[position < 0]
    if len(missing):
        raise DataError(
            f"PB-D112: {where} lacks {len(missing)} of {len(ids)} {kind}s of the data, first {_shown(missing)}; add "
            f"their rows, or index the frame by id with frame.set_index({kind!r})"
        )
    return frame.iloc[position].set_axis(ids)


def _refuse_repeated(names: "pd.Index[Any]", where: str) -> None:
    twice = names[names.duplicated()].unique()
    if len(twice):
        raise DataError(f"PB-D115: {where} has {len(twice)} duplicate names: {_shown(twice)}; rename the columns")


def _is_number(dtype: Any) -> bool:
    return getattr(dtype, "kind", "O") in "biuf" and not isinstance(dtype, pd.CategoricalDtype)


def _column(column: "pd.Series[Any]", where: str, kind: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the names of a column's features, and which one and how much of it each row has, `(n,)` both."""
    categorical = isinstance(column.dtype, pd.CategoricalDtype)
    text = column.isna().all() or categorical or pd.api.types.is_string_dtype(column.dropna())
    if not (_is_number(column.dtype) or text):
        raise DataError(
            f"PB-D114: {where} holds {column.dtype} values, which cannot be features; give numbers, booleans, text or "
            "categories, for example by astype(float) or astype(str)"
        )
    missing = (column.isna() | (column.astype(object) == "" if text else False)).to_numpy(dtype=bool)
    if missing.any():
        raise DataError(
            f"PB-D113: {where} has {missing.sum()} missing or empty values in {len(column)} {kind}s, first "
            f"{_shown(column.index[missing])}; fill them, or drop the column"
        )
    if text:
        level, levels = pd.factorize(column.astype(object), sort=True)
        _refuse_titles(level, levels, where, kind)
        return [f"{column.name}={each}" for each in levels], level, np.ones(len(column))
    with np.errstate(over="ignore"):
        value = column.to_numpy(dtype="float64").astype(np.float32)
    broken = ~np.isfinite(value)
    if broken.any():
        raise DataError(
            f"PB-D113: {where} has {broken.sum()} values that are not finite in 32 bits in {len(column)} {kind}s, first "
            f"{_shown(column.index[broken])}; fix them, or drop the column"
        )
    return [str(column.name)], np.zeros(len(column), np.int64), value


def _refuse_titles(level: np.ndarray, levels: Any, where: str, kind: str) -> None:
    """Refuse a text column with about one level per id, such as titles; in a small catalogue, with exactly one."""
    names_each = len(level) > SMALL and len(levels) == len(level)
    if names_each or len(levels) > max(FEW_LEVELS, MOST_LEVELS * len(level)):
        raise DataError(
            f"PB-D314: {where} has {len(levels)} distinct values in {len(level)} {kind}s, first {_shown(levels)}; as one "
            f"feature per value it would only name the {kind}s. Drop the column, or group its values into fewer levels"
        )


def _warn_of_scales(frame: pd.DataFrame, where: str) -> None:
    """Warn of numeric columns whose unit is far from the Normal(0, 1) of a coefficient per unit."""
    far = []
    for name in frame.columns:
        if _is_number(frame[name].dtype):
            number = frame[name].to_numpy(dtype="float64")
            mean, spread = number.mean(), number.std()
            if spread > FAR or abs(mean) > FAR * (spread or 1.0):
                far.append(f"{name} (mean {mean:.3g}, sd {spread:.3g})")
    if far:
        message = (
            f"PB-D116: {where} has {len(far)} numeric columns far from unit scale: {_shown(far)}. Coefficients have the "
            "prior Normal(0, 1) per unit: standardise these columns, (x - mean) / sd"
        )
        warnings.warn(message, DataWarning, stacklevel=4)
