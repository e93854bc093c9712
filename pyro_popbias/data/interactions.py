"""Interactions: logged rows (user, item[, label][, time]) as codes, with counts per cell, periods and splits."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from pyro_popbias.data.catalogue import Catalogue, require_cells
from pyro_popbias.data.duplicates import warn_of_duplicates
from pyro_popbias.data.features import Features
from pyro_popbias.data.frames import Table, as_frame, check_columns, check_roles, checked_times
from pyro_popbias.data.ids import as_codes, as_text, warn_of_forms
from pyro_popbias.data.labels import as_labels, require_label_of_rule
from pyro_popbias.data.log_columns import LogColumns
from pyro_popbias.data.log_overview import FIRST_ROWS, overview_of
from pyro_popbias.data.log_reading import read_log
from pyro_popbias.data.periods import PeriodBy, period_edges, require_period_by, require_periods, warn_of_sparse_periods
from pyro_popbias.data.splits import Split, choose_test
from pyro_popbias.data.stored_log import StoredLog
from pyro_popbias.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class Interactions:
    """Logged interactions; N rows, K items, T periods.

    Attributes:
        users: ids by user code.
        items: ids by item code.
        user: `(N,)` user codes.
        item: `(N,)` item codes.
        label: `(N,)` 0 or 1; None where the log holds positives only.
        time: `(N,)` seconds, or the numbers given; None without times.
        periods: T.
        edges: `(T + 1,)` times; None without times.
        columns: the other numeric columns, one row per interaction.
        user_features: side features by user code; None without.
        item_features: side features by item code; None without.
        period_by: "time" for periods of equal length, "count" for periods of equally many rows.
        stored: the log on disk that the rows are mapped from, in random order and without their times; None in memory.
    """

    users: "pd.Index[str]"
    items: "pd.Index[str]"
    user: np.ndarray
    item: np.ndarray
    label: np.ndarray | None = None
    time: np.ndarray | None = None
    periods: int = 1
    edges: np.ndarray | None = None
    columns: pd.DataFrame = field(default_factory=pd.DataFrame)
    user_features: Features | None = None
    item_features: Features | None = None
    period_by: PeriodBy = "time"
    stored: StoredLog | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        require_cells(len(self.items), self.periods)

    @classmethod
    def from_parquet(
        cls,
        path: str | Path,
        *,
        user: str = "user",
        item: str = "item",
        label: str | None = None,
        positive_if: str | None = None,
        time: str | None = None,
        periods: int = 1,
        period_by: PeriodBy = "time",
        folder: str | Path,
    ) -> "Interactions":
        """Return the interactions of a log that may be larger than memory, read into a folder block by block.

        A folder that holds the log already is opened at once, and a reading that was killed goes on where it was. Codes are those
        of `from_frame`, rows come in random order and without their times, and no other column is kept.

        Args:
            path: a .parquet file, or a folder of them, which are read in the order of their names.
            user: column of user ids.
            item: column of item ids.
            label: column of labels; None for a log that holds positives only.
            positive_if: as in `from_frame`.
            time: column of times.
            periods: as in `from_frame`.
            period_by: "time" alone: equal counts would take all times sorted.
            folder: where rows, ids and counts are kept, 12 bytes a row, or 16 with periods; new, or of the same log. The reading
                takes as much again, with periods 20 bytes a row.

        Raises:
            DataError: the files, their columns, ids, labels or times cannot be used as they are.
            ConfigError: `periods`, `period_by` or `positive_if` is wrong.
            RunFolderError: there are no files, or the folder holds something else or cannot be written.

        Warns:
            DataWarning: periods are nearly empty, times are unlikely, or a column of ids holds ids that look alike.
        """
        columns = LogColumns(user, item, label, positive_if, time, periods, period_by)
        return cls.of_log(read_log(Path(path), Path(folder), columns))

    @classmethod
    def of_log(cls, log: StoredLog) -> "Interactions":
        """Return the interactions of a log on disk."""
        user, item, label = log.mapped.T[:3]  # nothing is read yet
        labels = label if log.has_label else None
        return cls(log.users, log.items, user, item, labels, None, log.periods, log.edges, stored=log)

    @classmethod
    def from_frame(
        cls,
        frame: Table,
        *,
        user: str = "user",
        item: str = "item",
        label: str | None = None,
        positive_if: str | None = None,
        time: str | None = None,
        periods: int = 1,
        period_by: PeriodBy = "time",
        user_features: pd.DataFrame | None = None,
        item_features: pd.DataFrame | None = None,
        new_items: bool = False,
    ) -> "Interactions":
        """Return the interactions of a frame, which is not changed.

        Args:
            frame: one row per interaction; its index is ignored. Anything with `__arrow_c_stream__` is taken too.
            user: column of user ids.
            item: column of item ids.
            label: column of labels; None for a log that holds positives only.
            positive_if: a comparison with a number, such as ">=4", that makes labels of ratings.
            time: column of times: numbers, or dates.
            periods: number of slices of time; more than 1 needs `time`.
            period_by: "time" cuts slices of equal length, "count" slices of equally many rows.
            user_features: side features, a frame indexed by user id: numbers as they are, text by level.
            item_features: side features of items, a frame indexed by item id.
            new_items: whether items without rows that have features join the others; what is known of them is what their
                features say.

        Raises:
            DataError: the frame, its columns, ids, labels or features cannot be used as they are.
            ConfigError: `periods`, `period_by` or `positive_if` is wrong.

        Warns:
            DataWarning: rows are repeated or contradict each other, periods are nearly empty, times are unlikely, a column of
                ids holds two forms of one number or ids that look alike, or categories without rows.
        """
        frame = as_frame(frame)
        require_label_of_rule(label, positive_if)
        user, item = str(user), str(item)
        label, time = (None if name is None else str(name) for name in (label, time))
        named = {"user": user, "item": item, "label": label, "time": time}
        wanted = {role: name for role, name in named.items() if name is not None or role in ("user", "item")}
        check_columns(frame, wanted.values())
        check_roles(user, item)
        if not len(frame):
            raise DataError(f"PB-D002: the data have 0 rows (columns: {', '.join(map(str, frame.columns))})")
        user_codes, users = as_codes(frame[user], user)
        item_codes, items = as_codes(frame[item], item)
        labels = None if label is None else as_labels(frame[label], label, positive_if)
        times = None if time is None else checked_times(frame[time], time)
        others = frame.drop(columns=list(wanted.values())).select_dtypes("number").reset_index(drop=True)
        events = cls(users, items, user_codes, item_codes, labels, times, columns=others)
        keys = {"user": user_codes, "item": item_codes, "time": times, "label": labels}
        warn_of_duplicates({role: codes for role, codes in keys.items() if codes is not None}, users, items)
        events = events.with_periods(periods, by=period_by)
        return events.with_features(user_features=user_features, item_features=item_features, new_items=new_items)

    def __len__(self) -> int:
        return len(self.user)

    def __repr__(self) -> str:
        share = self.catalogue.positives.sum() / len(self)
        labels = "positives only" if self.label is None else f"{share:.1%} positive"
        return f"Interactions({len(self):,} rows, {len(self.users):,} users, {len(self.items):,} items, {labels})"

    def _repr_html_(self) -> str:
        first = {side: getattr(self, f"{side}s")[getattr(self, side)[:FIRST_ROWS]] for side in ("user", "item")}
        return overview_of(self.catalogue, first | {"label": self.label, "time": self.time}, self.period_by).html()

    @property
    def period(self) -> np.ndarray:
        """`(N,)` period of each row, 0..T-1; times outside the edges fall into the first or last period."""
        if self.stored is not None and self.periods > 1:
            return self.stored.mapped[:, 3]
        if self.edges is None or self.time is None:
            return np.zeros(len(self), dtype=np.int32)
        return np.searchsorted(self.edges[1:-1], self.time, side="right").astype(np.int32)

    @property
    def cells(self) -> int:
        """Number of (item, period) cells, K * T."""
        return len(self.items) * self.periods

    @cached_property
    def cell(self) -> np.ndarray:
        """`(N,)` cell of each row, item * T + period."""
        return self.item * np.int32(self.periods) + self.period  # `require_cells` has seen that int32 is enough

    @cached_property
    def catalogue(self) -> Catalogue:
        """Ids, periods and counts, without the rows."""
        ids = self.users, self.items, self.periods, self.edges
        features: dict[str, Any] = {side: getattr(self, side) for side in ("user_features", "item_features")}
        if self.stored is not None:
            return Catalogue(*ids, **features | self.stored.counts(self.cells))
        count = np.bincount(self.cell, minlength=self.cells)
        positive = np.ones(len(self), dtype=bool) if self.label is None else self.label == 1
        user, item = self.user[positive], self.item[positive]
        pairs = sparse.csr_array(
            (np.ones(len(user), dtype=bool), (user, item)), shape=(len(self.users), len(self.items))
        )
        return Catalogue(
            *ids,
            **features,
            count=count,
            positives=np.bincount(self.cell[positive], minlength=self.cells),
            user_count=np.bincount(self.user, minlength=len(self.users)),
            user_positives=np.bincount(user, minlength=len(self.users)),
            user_items=np.diff(pairs.indptr),  # a pair with several rows is one
        )

    def with_periods(self, periods: int, *, by: PeriodBy = "time") -> "Interactions":
        """Return the same rows in `periods` slices of time.

        Args:
            periods: T.
            by: "time" cuts slices of equal length, "count" slices of equally many rows.

        Raises:
            ConfigError: `periods` is not an integer >= 1, or above 1 without times; or `by` is neither choice.

        Warns:
            DataWarning: a period has next to no rows.
        """
        events = self._cut(require_periods(periods), require_period_by(by))
        if events.edges is not None:
            warn_of_sparse_periods(np.bincount(events.period, minlength=periods), periods, by)
        return events

    def _cut(self, periods: int, by: PeriodBy) -> "Interactions":
        if self.stored is not None:
            raise ConfigError("PB-D442: periods of a stored log are cut when it is read; pass periods= to from_parquet")
        if periods == 1:
            return replace(self, periods=1, period_by=by, edges=None)
        if self.time is None:
            raise ConfigError(f"PB-C005: periods={periods} needs a time column; pass time=")
        return replace(self, periods=periods, period_by=by, edges=period_edges(self.time, periods, by))

    def with_features(
        self,
        *,
        user_features: pd.DataFrame | None = None,
        item_features: pd.DataFrame | None = None,
        new_items: bool = False,
    ) -> "Interactions":
        """Return the same rows with side features, from frames indexed by id; None leaves what there is.

        Args:
            user_features: of users.
            item_features: of items.
            new_items: as in `from_frame`.

        Raises:
            DataError: a frame lacks ids, has duplicate ids, or holds values that cannot be used.
        """
        events = self
        if user_features is not None:
            events = replace(events, user_features=Features.from_frame(user_features, self.users, "user"))
        if item_features is not None:
            events = events._with_new_items(item_features) if new_items else events
            events = replace(events, item_features=Features.from_frame(item_features, events.items, "item"))
        return events

    def _with_new_items(self, features: pd.DataFrame) -> "Interactions":
        """Return the same rows, and items without rows that a frame of features has, after the others."""
        if not isinstance(features, pd.DataFrame):
            return self  # refused where features are read
        ids = pd.Index(as_text(features.index.to_series(), f"item_features.{features.index.name or 'index'}"))
        items = self.items.append(ids[~ids.isin(self.items)].unique())
        warn_of_forms(items, "item, with those of item_features")
        return replace(self, items=items)

    def take(self, index: np.ndarray) -> "Interactions":
        """Return some rows, in the order given and in memory, recoded to their own users and items."""
        if self.stored is not None:
            self.stored.require_no_periods("take")
        users, user = np.unique(self.user[index], return_inverse=True)
        items, item = np.unique(self.item[index], return_inverse=True)
        return Interactions(
            users=self.users[users],
            items=self.items[items],
            user=user.astype(np.int32),
            item=item.astype(np.int32),
            label=None if self.label is None else self.label[index],
            time=None if self.time is None else self.time[index],
            periods=self.periods,
            edges=self.edges,
            columns=self.columns.iloc[index].reset_index(drop=True) if self.columns.shape[1] else self.columns[:0],
            user_features=None if self.user_features is None else self.user_features.take(users),
            item_features=None if self.item_features is None else self.item_features.take(items),
            period_by=self.period_by,
        )

    def split(
        self, how: Split = "random", *, test: float = 0.1, seed: int = 0
    ) -> tuple["Interactions", "Interactions"]:
        """Return train and test rows; period edges are computed on train.

        Args:
            how: "random": rows are drawn uniformly. "temporal": the test has the latest rows. "item-uniform": as many
                rows of every item as of any other, at most half of each item's, so that the test is not
                popularity-biased; every user and item keeps a training row. "leave-last": the last row of every user
                with two or more.
            test: share of the rows to hold out for test, above 0 and below 1; "leave-last" does not use it.
            seed: of the random choice; an integer >= 0.

        Raises:
            ConfigError: `how` or `test` is wrong, the split needs times, or one side would be empty.
        """
        if self.stored is not None:
            self.stored.require_few("split", "split the files before they are read")
        chosen = choose_test(how, test, seed, user=self.user, item=self.item, time=self.time)
        train = self.take(np.flatnonzero(~chosen))._cut(self.periods, self.period_by)
        return train, replace(self.take(np.flatnonzero(chosen)), edges=train.edges)

    def to_frame(self) -> pd.DataFrame:
        """Return a frame with columns user, item, and where known label, time, period, and the other numeric ones."""
        if self.stored is not None:
            self.stored.require_few("to_frame", "read the Parquet files")
        known: dict[str, Any] = {"user": self.users[self.user], "item": self.items[self.item]}
        if self.label is not None:
            known["label"] = self.label.astype(np.int64)
        if self.time is not None:
            known["time"] = self.time
        if self.periods > 1:
            known["period"] = self.period
        others = self.columns.drop(columns=[name for name in known if name in self.columns])
        return pd.concat([pd.DataFrame(known), others], axis=1)

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("Interactions are not a sequence of rows; use to_frame()")
