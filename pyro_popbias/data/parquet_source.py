"""A log in Parquet files, read a batch at a time: which files there are, and where among them a reading stands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from pyro_popbias.data.frames import check_columns
from pyro_popbias.errors import DataError, RunFolderError

BATCH = 1_048_576  # rows decoded at once
BROKEN = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError)  # what a damaged file raises

Place = tuple[int, int, int]  # file, row group and batch that come next


@dataclass(frozen=True)
class LogBatch:
    """Some rows of a log.

    Attributes:
        columns: by name.
        after: where the reading stands after these rows.
        where: the file and the first row in it, for messages.
    """

    columns: pa.RecordBatch
    after: Place
    where: str


@dataclass(frozen=True)
class ParquetSource:
    """The files of a log, in the order of their names.

    Attributes:
        files: their paths.
        rows: N.
        facts: name, size in bytes, time of the last change in ns, and rows of each file.
    """

    files: tuple[Path, ...]
    rows: int
    facts: list[dict[str, Any]]

    @classmethod
    def of(cls, path: Path, columns: Sequence[str]) -> "ParquetSource":
        """Return the files of a path, each of which has the columns.

        Args:
            path: a .parquet file, or a folder of them; those of its folders count too, hidden ones do not.
            columns: names.

        Raises:
            RunFolderError: there is no such file, or none in the folder.
            DataError: a file is not Parquet or lacks a column, or all have 0 rows.
        """
        files = _files(path)
        facts, rows, names = [], 0, []
        for file in files:
            opened = _opened(file)
            names = opened.schema_arrow.names
            try:
                check_columns(pd.DataFrame(columns=names), columns)
            except DataError as error:
                raise DataError(f"{error} (in {file})") from error
            stat, number = file.stat(), opened.metadata.num_rows
            name = file.name if file == path else file.relative_to(path).as_posix()
            facts.append({"name": name, "bytes": stat.st_size, "changed": stat.st_mtime_ns, "rows": number})
            rows += number
        if not rows:
            raise DataError(f"PB-D441: {path} has 0 rows in {len(files)} Parquet files (columns: {', '.join(names)})")
        return cls(files, rows, facts)

    def batches(self, columns: Sequence[str], begin: Place) -> Iterator[LogBatch]:
        """Yield the rows from a place on.

        Args:
            columns: the columns to read.
            begin: (0, 0, 0) for all rows.

        Raises:
            DataError: a file cannot be read, or does not hold as many rows as it says.
        """
        for number in range(begin[0], len(self.files)):
            file = self.files[number]
            opened = _opened(file)
            first = begin[1] if number == begin[0] else 0
            rows = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
            _require_rows(file, opened.metadata.num_rows, sum(rows))
            for group in range(first, opened.num_row_groups):
                done = begin[2] if (number, group) == begin[:2] else 0
                row, end = sum(rows[:group]) + min(done * BATCH, rows[group]), sum(rows[: group + 1])
                for k, batch in enumerate(_decoded(opened, file, group, columns, done), done + 1):
                    yield LogBatch(batch, (number, group, k), f"{file}, rows counted from its row {row}")
                    row += len(batch)
                _require_rows(file, end, row)


def _files(path: Path) -> tuple[Path, ...]:
    if path.is_file():
        return (path,)
    found = sorted(
        file
        for file in path.rglob("*.parquet")
        if file.is_file() and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    )
    if not found:
        what = "holds no .parquet file" if path.is_dir() else "does not exist"
        raise RunFolderError(f"PB-R140: {path} {what}; give a Parquet file or a folder of them")
    return tuple(found)


def _opened(file: Path) -> parquet.ParquetFile:
    try:
        return parquet.ParquetFile(file)
    except BROKEN as error:
        raise _unreadable(file, error) from error


def _decoded(
    opened: parquet.ParquetFile, file: Path, group: int, columns: Sequence[str], done: int
) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a row group after some that are done."""
    batches = opened.iter_batches(batch_size=BATCH, row_groups=[group], columns=list(columns))
    batches = islice(batches, done, None)
    while True:
        try:
            batch = next(batches, None)
            if batch is not None:
                batch.validate(full=True)  # text that is not UTF-8 would fail later, where it is used
        except BROKEN as error:
            raise _unreadable(file, error) from error
        if batch is None:
            return
        yield batch


def _require_rows(file: Path, said: int, held: int) -> None:
    """Refuse a file whose footer does not say how many rows it holds: its reader does not notice columns without values."""
    if said != held:
        raise DataError(
            f"PB-D480: {file} says that it has {said} rows there and holds {held}; it is damaged, write it again"
        )


def _unreadable(file: Path, error: Exception) -> DataError:
    text = str(error).partition("\n")[0]
    return DataError(f"PB-D440: {file} is not a readable Parquet file: {text}; write it again")
