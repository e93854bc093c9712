"""What comes to an estimator and goes from it: columns of ids, labels of two classes, numbers of NumPy."""

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from pyro_popbias.data.frames import as_frame
from pyro_popbias.data.ids import as_text, column_of
from pyro_popbias.errors import DataError


def rows_of(X: Any) -> "pd.DataFrame | np.ndarray":
    """Return X as a table or an array, of any shape.

    Raises:
        DataError: it is sparse, or a table that cannot be read.
    """
    if sparse.issparse(X):
        raise DataError("PB-D510: X is a sparse matrix; it must be two columns, ids of users and of items")
    return as_frame(X) if isinstance(X, pd.DataFrame) or hasattr(X, "__arrow_c_stream__") else np.asarray(X)


def pairs_of(rows: "pd.DataFrame | np.ndarray") -> pd.DataFrame:
    """Return rows as a table with columns user and item.

    Raises:
        DataError: they are not two columns, users first, or there is none.
    """
    if rows.ndim != 2 or rows.shape[1] != 2:
        raise DataError(
            f"PB-D511: X has the shape {rows.shape}, and not two columns, ids of users and of items; labels are y. Reshape your "
            "data, or choose the columns: frame[['user', 'item']]"
        )
    if not len(rows):
        raise DataError(f"PB-D512: X has 0 sample(s) (shape={rows.shape}) while a minimum of 1 is required.")
    if isinstance(rows, pd.DataFrame):
        if list(rows.columns) == ["item", "user"]:
            raise DataError("PB-D513: the columns of X are item, user; users come first: frame[['user', 'item']]")
        return pd.DataFrame({"user": rows.iloc[:, 0].array, "item": rows.iloc[:, 1].array})
    if rows.dtype == object:  # what is in it decides
        return pd.DataFrame(
            {name: column_of(column.tolist()) for name, column in zip(("user", "item"), rows.T, strict=True)}
        )
    return pd.DataFrame(rows, columns=["user", "item"])


def plain(value: Any) -> Any:
    """Return a number of NumPy, as grids are made of, as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def column_per_row(values: Any, name: str, rows: int) -> np.ndarray:
    """Return one value per row, `(N,)`."""
    found = np.asarray(values)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.shape != (rows,):
        raise DataError(f"PB-D514: {name} has the shape {found.shape}, X has {rows} rows; give one value per row")
    return found


def labels(y: Any, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the two classes of labels, and 0 or 1 for each, `(N,)`."""
    label = column_per_row(y, "y", rows)
    if pd.isna(label).any():
        raise DataError(f"PB-D514: y has {pd.isna(label).sum()} missing labels (NaN); leave these rows out of X, too")
    classes = np.unique(label)
    if set(classes.tolist()) <= {0, 1}:
        return np.array([0, 1], dtype=classes.dtype), label.astype(int)
    if len(classes) != 2:
        raise DataError(
            f"PB-D514: Unknown label type: y has {len(classes)} different values. Only binary classification is supported; make "
            "labels of ratings by y >= 4"
        )
    return classes, (label == classes[1]).astype(int)


def positives(y: Any, rows: int, classes: np.ndarray) -> np.ndarray:
    """Return 1 for labels of the second class and 0 for the first, `(N,)`."""
    label = column_per_row(y, "y", rows)
    if not np.isin(label, classes).all():
        raise DataError(f"PB-D514: y has labels other than those of fit, {', '.join(map(str, classes))}")
    return (label == classes[1]).astype(int)


def own_ids(column: "pd.Series[Any]", ids: "pd.Index[str]") -> np.ndarray:
    """Return ids of a fit as they stand in a column."""
    distinct = column.drop_duplicates()
    position = pd.Index(as_text(distinct, str(column.name))).get_indexer(ids)
    return distinct.to_numpy()[position]


def given_back(column: "pd.Series[str]", ids: "pd.Index[str]", own: np.ndarray, others: "pd.Series[Any]") -> np.ndarray:
    """Return a column of ids of a fit as they were given: to the fit, or where it does not know them, among `others`."""
    code = ids.get_indexer(pd.Index(column))
    if (code >= 0).all():
        return own[code]
    distinct = others.drop_duplicates()
    place = pd.Index(as_text(distinct, "users")).get_indexer(pd.Index(column))
    found = np.where(code >= 0, own.astype(object)[code], distinct.to_numpy(dtype=object)[place])
    return np.asarray(column_of(found.tolist()))
