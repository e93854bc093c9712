"""What is read of a log in files: names of columns, and what is made of them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from pyro_popbias.data.frames import check_roles, checked_times
from pyro_popbias.data.id_codes import IdCodes
from pyro_popbias.data.labels import as_labels, parse_rule, require_label_of_rule
from pyro_popbias.data.periods import PeriodBy, require_period_by, require_periods
from pyro_popbias.errors import ConfigError


@dataclass(frozen=True)
class LogColumns:
    """The columns of a log.

    Attributes:
        user: column of user ids.
        item: column of item ids.
        label: column of labels; None for positives only.
        positive_if: a comparison with a number; None for labels 0 and 1.
        time: column of times; None without.
        periods: T.
        period_by: "time" alone.

    Raises:
        DataError: users and items are one column.
        ConfigError: a value is wrong, or there are periods and no times.
    """

    user: str
    item: str
    label: str | None = None
    positive_if: str | None = None
    time: str | None = None
    periods: int = 1
    period_by: PeriodBy = "time"

    def __post_init__(self) -> None:
        check_roles(self.user, self.item)
        object.__setattr__(self, "periods", require_periods(self.periods))
        if self.periods > 1 and self.time is None:
            raise ConfigError(f"PB-C005: periods={self.periods} needs a time column; pass time=")
        if require_period_by(self.period_by) != "time":
            raise ConfigError(
                f"PB-D443: period_by={self.period_by!r} takes all times sorted in memory; use 'time' for a stored log"
            )
        require_label_of_rule(self.label, self.positive_if)
        if self.positive_if is not None:
            parse_rule(self.positive_if)

    @property
    def names(self) -> list[str]:
        """The columns to read."""
        return [name for name in (self.user, self.item, self.label, self.time) if name is not None]

    @property
    def dtype(self) -> np.dtype:
        """Of a row on its way; times are kept until it is known when periods begin."""
        columns = [("user", "<i4"), ("item", "<i4"), ("label", "<i4")]
        return np.dtype(columns if self.periods == 1 else [*columns, ("time", "<f8")])

    def encoded(self, batch: pa.RecordBatch, users: IdCodes, items: IdCodes) -> tuple[np.ndarray, list[float]]:
        """Return the rows of a batch, `(n,)` of `dtype`, and their first and last time, nothing without times.

        Raises:
            DataError: ids, labels or times cannot be used; rows are counted within the batch.
        """
        rows = np.empty(len(batch), dtype=self.dtype)
        rows["user"] = users.encode(batch.column(self.user))
        rows["item"] = items.encode(batch.column(self.item))
        rows["label"] = 1
        if self.label is not None:
            rows["label"] = as_labels(_series(batch, self.label), self.label, self.positive_if)
        if self.time is None or not len(batch):
            return rows, []
        times = checked_times(_series(batch, self.time), self.time)
        if self.periods > 1:
            rows["time"] = times
        return rows, [float(times.min()), float(times.max())]


def packed(rows: np.ndarray, edges: np.ndarray | None) -> np.ndarray:
    """Return rows of `LogColumns.dtype` as they stand in a stored log, `(n, 3)`, or `(n, 4)` with periods.

    Args:
        rows: `(n,)`.
        edges: `(T + 1,)` times at which periods begin and end; None for one period.
    """
    columns = [rows["user"], rows["item"], rows["label"]]
    if edges is not None:
        columns.append(np.searchsorted(edges[1:-1], rows["time"], side="right").astype(np.int32))
    return np.stack(columns, axis=1)


def _series(batch: pa.RecordBatch, name: str) -> pd.Series:
    return batch.column(name).to_pandas(date_as_object=False)
