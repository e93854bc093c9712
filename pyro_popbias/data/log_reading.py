"""Reading of a log that does not fit into memory, from Parquet to packed rows in random order; a killed reading goes on.

| phase | what is done | what is committed |
| --- | --- | --- |
| read | rows are decoded, ids become codes, and rows are scattered over files by chance | place in the source, sizes of files |
| mix | each of these files is permuted and appended to the rows; cells and users are counted | number of files that are done |
| done | ids and counts are written | all |

A commit replaces the manifest after what it speaks of is durable, and a reading that goes on cuts files to what it says. Random
numbers are counted by position, so that a reading that was killed gives the same bytes as one that was not.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from pyro_popbias.data.atomic_files import in_words, remove_temporaries, sha256, write_atomically
from pyro_popbias.data.id_codes import IdCodes
from pyro_popbias.data.log_columns import LogColumns, packed
from pyro_popbias.data.log_spool import Spool
from pyro_popbias.data.parquet_source import ParquetSource
from pyro_popbias.data.periods import period_edges, warn_of_sparse_periods
from pyro_popbias.data.row_counts import RowCounts
from pyro_popbias.data.stored_log import CODE, COUNTS, IDS, MANIFEST, ROWS, SCHEMA, StoredLog, manifest_of
from pyro_popbias.data.time_span import refuse_two_units
from pyro_popbias.errors import DataError, PopBiasError, RunFolderError, RunLockedError
from pyro_popbias.progress import measured

SPOOL_ROWS = 4_194_304  # rows of a file that is permuted in memory
MOST_FILES = 512
FLUSH = 1_048_576  # rows scattered at once
COMMIT_SECONDS = 5.0  # of work that a kill may cost
LOCK = ".lock"


def read_log(path: Path, folder: Path, columns: LogColumns) -> StoredLog:
    """Return the log of Parquet files, read into a folder unless it is there already.

    Args:
        path: a .parquet file, or a folder of them.
        folder: new, or one that a reading of the same log was begun or finished in.
        columns: what is read.

    Raises:
        DataError: the files, their columns, ids, labels or times cannot be used.
        RunFolderError: there are no files, or the folder holds something else, is damaged or cannot be written.
    """
    source = ParquetSource.of(path, columns.names)
    with _alone(folder):
        reading = LogReading(source, folder, columns)
        try:
            reading.run()
        except DataError:  # the files, or what is asked of them, will be others: this reading cannot go on
            reading.discard()
            raise
    log = StoredLog.open(folder)
    if log.edges is not None:
        warn_of_sparse_periods(log.count.reshape(-1, log.periods).sum(0), log.periods, columns.period_by)
    return log


class LogReading:
    """A reading of a log into a folder, which this process alone writes to.

    Args:
        source: the files.
        folder: the folder.
        columns: what is read.
    """

    def __init__(self, source: ParquetSource, folder: Path, columns: LogColumns) -> None:
        self._source, self._folder, self._columns = source, folder, columns
        asked = {"columns": asdict(columns), "source": source.facts}
        facts = manifest_of(folder)
        if facts is None:
            _refuse_other_files(folder)
            files = min(MOST_FILES, -(-source.rows // SPOOL_ROWS))
            start = {"phase": "read", "place": [0, 0, 0], "rows": 0, "calls": 0, "time": None}
            facts = {"log": SCHEMA, **asked, **start, "spool": [0] * files, "ids": [0, 0]}
        _refuse_another(facts, asked, folder)
        self._facts: dict[str, Any] = facts
        self._spool = Spool(folder, len(facts["spool"]), columns.dtype)

    def run(self) -> None:
        """Read to the end, from where the last commit stands."""
        remove_temporaries(self._folder)
        if self._facts["phase"] == "read":
            self._read()
        if self._facts["phase"] == "mix":
            self._mix()
        for number in range(len(self._facts["spool"])):
            self._spool.remove(number)

    def discard(self) -> None:
        """Delete what was read."""
        for name in (MANIFEST, ROWS, COUNTS, *IDS):
            (self._folder / name).unlink(missing_ok=True)
        for number in range(len(self._facts["spool"])):
            self._spool.remove(number)

    def _commit(self, **changes: Any) -> None:
        self._facts |= changes
        write_atomically(self._folder / MANIFEST, json.dumps(self._facts).encode())

    def _read(self) -> None:
        """Scatter all rows over the spool."""
        facts = self._facts
        ids = self._known_ids()
        self._spool.begin(facts["spool"])
        pending: list[np.ndarray] = []
        calls, span, place, committed = facts["calls"], facts["time"], facts["place"], time.monotonic()
        self._commit()
        with measured(self._source.rows, "reading rows") as show:
            done = facts["rows"]
            for batch in self._source.batches(self._columns.names, tuple(place)):
                with _named(batch.where):
                    rows, times = self._columns.encoded(batch.columns, *ids)
                pending.append(rows)
                if times:
                    span = [min(span[0], times[0]), max(span[1], times[1])] if span else times
                    refuse_two_units(np.array(span), str(self._columns.time))
                place, done = batch.after, done + len(batch.columns)
                show(done)
                if sum(map(len, pending)) < FLUSH and done < self._source.rows:
                    continue
                self._spool.scatter(np.concatenate(pending), calls)
                pending, calls = [], calls + 1
                if time.monotonic() - committed >= COMMIT_SECONDS:
                    self._commit_rows(ids, place=list(place), rows=done, calls=calls, time=span)
                    committed = time.monotonic()
        self._commit_rows(ids, place=list(place), rows=done, calls=calls, time=span, phase="mix", mixed=0)

    def _known_ids(self) -> tuple[IdCodes, IdCodes]:
        """Return the ids of both files up to the last commit."""
        found = []
        named = zip(IDS, (self._columns.user, self._columns.item), self._facts["ids"], strict=True)
        for file, name, size in named:
            with (self._folder / file).open("a+b") as lines:
                lines.truncate(size)
                lines.seek(0)
                found.append(IdCodes(name, lines.read()))
        return found[0], found[1]

    def _commit_rows(self, ids: tuple[IdCodes, IdCodes], **changes: Any) -> None:
        """Make rows and ids durable, then say so."""
        sizes = []
        for file, known in zip(IDS, ids, strict=True):
            with (self._folder / file).open("ab") as lines:
                lines.write(known.new_lines())
                lines.flush()
                os.fsync(lines.fileno())
                sizes.append(lines.tell())
        self._commit(spool=self._spool.commit(), ids=sizes, **changes)

    def _mix(self) -> None:
        """Append the permuted files of the spool to the rows, count cells and users, and write ids and counts."""
        facts, periods = self._facts, self._columns.periods
        users, items = self._known_ids()
        edges = None if periods == 1 else period_edges(np.array(facts["time"]), periods, "time")
        width = CODE.itemsize * (3 if edges is None else 4)
        counts, digest = RowCounts(len(users), len(items), periods), hashlib.sha256()
        with (self._folder / ROWS).open("a+b") as file, measured(self._source.rows, "mixing rows") as show:
            done = sum(facts["spool"][: facts["mixed"]]) // self._columns.dtype.itemsize
            file.truncate(done * width)
            file.seek(0)
            while content := file.read(FLUSH * width):  # counts are not committed: they are found again
                digest.update(content)
                counts.add(np.frombuffer(content, dtype=CODE).reshape(-1, width // CODE.itemsize))
            for number in range(facts["mixed"], len(facts["spool"])):
                rows = packed(self._spool.permuted(number), edges)
                digest.update(rows.data)
                counts.add(rows)
                file.write(rows.data)
                file.flush()
                os.fsync(file.fileno())
                self._commit(mixed=number + 1)
                self._spool.remove(number)
                done += len(rows)
                show(done)
        for known in (users, items):
            known.warn()
        write_atomically(self._folder / COUNTS, safetensors.numpy.save(counts.tensors()))
        digests = {name: sha256((self._folder / name).read_bytes()) for name in (COUNTS, *IDS)}
        self._commit(
            phase="done",
            periods=periods,
            edges=None if edges is None else edges.tolist(),
            has_label=self._columns.label is not None,
            sha256=digests | {ROWS: digest.hexdigest()},
        )


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Say in messages where the rows are."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{error} (in {where})") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder, made if need be, against other processes.

    Raises:
        RunLockedError: another one reads into it.
        RunFolderError: it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOCK).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunLockedError(f"PB-R145: another process reads a log into {folder}; wait for it") from error
            yield
    except PopBiasError:
        raise
    except OSError as error:
        raise RunFolderError(f"PB-R148: cannot write to {folder}: {in_words(error, 0, folder)}") from error


def _refuse_other_files(folder: Path) -> None:
    """Refuse a folder that holds something else, which a reading might overwrite."""
    names = {ROWS, COUNTS, LOCK, *IDS}
    other = sorted(
        path.name
        for path in folder.iterdir()
        if path.name not in names and not path.name.startswith((".tmp-", "spool-"))
    )
    if other:
        raise RunFolderError(
            f"PB-R149: {folder} holds {len(other)} other files, such as {other[0]!r}; name a folder of its own for the log"
        )


def _refuse_another(facts: dict[str, Any], asked: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with a reading of other columns, or of files that have changed since."""
    if facts["columns"] != asked["columns"]:
        differing = [name for name, value in asked["columns"].items() if facts["columns"].get(name) != value]
        raise RunFolderError(
            f"PB-R142: {folder} holds a reading of the log with other arguments: {', '.join(differing)}; pass the same, or name "
            "another folder"
        )
    if facts["source"] != asked["source"]:
        then, now = ({json.dumps(each, sort_keys=True) for each in facts_of["source"]} for facts_of in (facts, asked))
        names = sorted({json.loads(each)["name"] for each in then ^ now})
        raise RunFolderError(
            f"PB-R141: {len(names)} files of the log have changed since it was read into {folder}, such as {names[0]!r}; remove "
            "the folder and read again, or name another one"
        )
