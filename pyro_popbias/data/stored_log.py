"""A log on disk: packed rows in random order in one file, ids and counts beside it, and a manifest that says what is whole.

| file | content |
| --- | --- |
| `rows.bin` | `(N, 3)` int32: user, item, label; with periods `(N, 4)`, the period last |
| `users.jsonl`, `items.jsonl` | ids by code, a JSON string a line, as any text may be an id |
| `counts.safetensors` | rows and positives of each cell and each user; positions of first rows |
| `manifest.json` | what was read, and the SHA-256 of the others |
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.numpy
from safetensors import SafetensorError

from pyro_popbias.data.atomic_files import sha256
from pyro_popbias.data.regular_files import read_regular
from pyro_popbias.errors import CorruptCheckpointError, DataError, RunFolderError, SchemaVersionError

SCHEMA = 1
ROWS, COUNTS, MANIFEST = "rows.bin", "counts.safetensors", "manifest.json"
IDS = ("users.jsonl", "items.jsonl")
MOST_AT_ONCE = 10_000_000  # rows that what needs all of them in memory takes
CODE = np.dtype("<i4")
READ_AT_ONCE = 1_048_576  # rows
MOST_OF_MANIFEST = 67_108_864  # bytes; it lists the files of the log


@dataclass(frozen=True, eq=False)
class StoredLog:
    """A log on disk; U users, C = K T cells.

    Attributes:
        folder: where it is.
        users: ids by user code.
        items: ids by item code.
        rows: N.
        periods: T.
        edges: `(T + 1,)` times at which periods begin and end; None for one period.
        has_label: whether the log has labels; without any, rows are positives.
        count: `(C,)` rows of each cell.
        positives: `(C,)` rows with label 1.
        user_count: `(U,)` rows of each user.
        user_positives: `(U,)` rows with label 1.
        first: positions of rows, in order, that hold every user and every cell that has a row.
        fingerprint: of all of it.
        digest: SHA-256 of `rows.bin`.
    """

    folder: Path
    users: "pd.Index[str]"
    items: "pd.Index[str]"
    rows: int
    periods: int
    edges: np.ndarray | None
    has_label: bool
    count: np.ndarray
    positives: np.ndarray
    user_count: np.ndarray
    user_positives: np.ndarray
    first: np.ndarray
    fingerprint: str
    digest: str

    @classmethod
    def open(cls, folder: Path) -> "StoredLog":
        """Return the log of a folder; its rows are not read.

        Raises:
            RunFolderError: there is none, or its reading is not finished.
            CorruptCheckpointError: a file is not what was written.
        """
        facts = manifest_of(folder)
        if facts is None or facts.get("phase") != "done":
            raise RunFolderError(
                f"PB-R144: {folder} holds no log that is read to its end; call Interactions.from_parquet with this folder"
            )
        try:
            found = cls._of(facts, folder)
        except (KeyError, TypeError, ValueError, AttributeError, OSError, SafetensorError, RecursionError) as error:
            raise _damaged(folder / MANIFEST) from error
        return found

    @classmethod
    def _of(cls, facts: dict[str, Any], folder: Path) -> "StoredLog":
        rows, width = facts["rows"], 3 if facts["periods"] == 1 else 4
        held = (folder / ROWS).stat().st_size if (folder / ROWS).is_file() else 0
        if held != rows * width * CODE.itemsize:
            raise _damaged(folder / ROWS)
        users, items = (
            pd.Index([json.loads(line) for line in _checked(folder, name, facts).splitlines()], dtype=str)
            for name in IDS
        )
        counts: dict[str, Any] = safetensors.numpy.load(_checked(folder, COUNTS, facts))
        edges = None if facts["edges"] is None else np.array(facts["edges"])
        print_of = sha256(json.dumps([facts["sha256"], facts["edges"], facts["has_label"]]).encode())
        periods, has_label, digest = facts["periods"], facts["has_label"], facts["sha256"][ROWS]
        return cls(folder, users, items, rows, periods, edges, has_label, **counts, fingerprint=print_of, digest=digest)

    @cached_property
    def mapped(self) -> np.ndarray:
        """`(N, 3)` or `(N, 4)` rows, mapped from the file: only what is looked at is read.

        Raises:
            CorruptCheckpointError: the file is gone or has become shorter.
        """
        try:
            return np.memmap(self.folder / ROWS, dtype=CODE, mode="r", shape=(self.rows, self.width))
        except (OSError, ValueError) as error:
            raise _damaged(self.folder / ROWS) from error

    @property
    def width(self) -> int:
        """Number of columns of `rows.bin`."""
        return 3 if self.periods == 1 else 4

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the rows of some positions, `(stop - start, 3)` or `(stop - start, 4)`.

        Raises:
            CorruptCheckpointError: the file has become shorter, or is gone.
        """
        number, size = (stop - start) * self.width, self.width * CODE.itemsize
        try:
            found = np.fromfile(self.folder / ROWS, dtype=CODE, count=number, offset=start * size)
        except OSError as error:
            raise _damaged(self.folder / ROWS) from error
        if len(found) < number:
            raise _damaged(self.folder / ROWS)
        return found.reshape(-1, self.width)

    @cached_property
    def is_whole(self) -> bool:
        """Whether `rows.bin` is what was written: reads all of it, once."""
        digest = hashlib.sha256()
        for start in range(0, self.rows, READ_AT_ONCE):
            digest.update(self.read(start, min(start + READ_AT_ONCE, self.rows)).data)
        return digest.hexdigest() == self.digest

    def require_whole(self) -> None:
        """Refuse rows that are not what was written; opening a log looks at their number only.

        Raises:
            CorruptCheckpointError: they are not.
        """
        if not self.is_whole:
            raise _damaged(self.folder / ROWS)

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Yield all rows in the order of the file, `size` at a time."""
        for start in range(0, self.rows, size):
            yield self.read(start, min(start + size, self.rows))

    def counts(self, cells: int) -> dict[str, np.ndarray]:
        """Return rows and positives of cells and users by their names in a catalogue.

        Args:
            cells: how many; those of items that joined later have no rows.
        """
        of_cells = {name: np.pad(getattr(self, name), (0, cells - len(self.count))) for name in ("count", "positives")}
        return of_cells | {"user_count": self.user_count, "user_positives": self.user_positives}

    def require_no_periods(self, what: str) -> None:
        """Refuse what would need the times of rows.

        Raises:
            DataError: there are periods.
        """
        if self.periods > 1:
            raise DataError(
                f"PB-D444: {what} of a stored log with periods would lose them, as times of rows are not kept; read it without"
            )

    def require_few(self, what: str, remedy: str) -> None:
        """Refuse what would hold all rows in memory where they are many.

        Args:
            what: what was asked for.
            remedy: what to do instead.

        Raises:
            DataError: there are more than `MOST_AT_ONCE`.
        """
        if self.rows > MOST_AT_ONCE:
            raise DataError(
                f"PB-D445: {what} would hold all {self.rows:,} rows of the log in {self.folder} in memory, more than "
                f"{MOST_AT_ONCE:,}; {remedy}"
            )


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a folder; None where there is none.

    Raises:
        CorruptCheckpointError: it cannot be read.
        SchemaVersionError: another version wrote it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        facts: dict[str, Any] = json.loads(read_regular(path, most=MOST_OF_MANIFEST))
        schema = facts["log"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptCheckpointError(
            f"PB-R143: {path} is not the manifest of a log; name a folder of its own, or remove this one and read again"
        ) from error
    if schema != SCHEMA:
        raise SchemaVersionError(
            f"PB-R147: {path} has schema {schema}, this version reads {SCHEMA}; remove the folder and read the log again"
        )
    return facts


def _checked(folder: Path, name: str, facts: dict[str, Any]) -> bytes:
    """Return the content of a file."""
    try:
        content = read_regular(folder / name)
    except OSError as error:
        raise _damaged(folder / name) from error
    if sha256(content) != facts["sha256"][name]:
        raise _damaged(folder / name)
    return content


def _damaged(path: Path) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"PB-R146: {path} is missing or not what was written; remove the folder and read the log again"
    )
