"""Rows 1 to 28: frames and files."""

import gzip
import io
import os
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from bad_inputs.labels import FIT, fit_it, frame_with, read, written
from bad_inputs.row import Row
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.readers import read_interactions
from pyro_popbias.errors import DataError, RunFolderError

LINES = b"user,item,label\na,x,0\na,y,1\nb,x,1\nb,z,0\nc,y,1\nc,z,0\n"
PARQUET, GZIPPED = "rows.parquet", "rows.csv.gz"


def file_of(content: bytes, name: str = "rows.csv") -> Callable[[Path], Path]:
    """Return what writes a file and a study of it, and returns its path."""
    return placed(lambda path: path.write_bytes(content), name)


def placed(put: Callable[[Path], object], name: str = "rows.csv") -> Callable[[Path], Path]:
    """Return what puts anything in the place of a study's file."""

    def prepare(folder: Path) -> Path:
        written(frame_with(), folder, name)
        (folder / name).unlink()
        put(folder / name)
        return folder / name

    return prepare


def read_file(folder: Path, path: Path) -> Interactions:
    """Read the interactions of a file."""
    return read_interactions(path, label="label")


def of_file(
    number: int,
    what: str,
    content: bytes | Callable[[Path], object],
    message: str,
    *,
    name: str = "rows.csv",
    answer: type[Exception] | None = DataError,
    exit_code: int = 3,
) -> Row:
    """Return a row of a file, given from Python and on the command line."""
    prepare = file_of(content, name) if isinstance(content, bytes) else placed(content, name)
    return Row(number, what, read_file, answer, message, prepare, FIT, exit_code)


def of_frame(number: int, what: str, make: Callable[[], Any], answer: type[Exception] | None, message: str) -> Row:
    """Return a row of an object that only Python can be given."""
    return Row(number, what, read, answer, message, lambda folder: make())


def parquet_bytes() -> bytes:
    """Return the six rows as a Parquet file."""
    buffer = io.BytesIO()
    frame_with().to_parquet(buffer, index=False)
    return buffer.getvalue()


def arrow_table() -> pa.Table:
    """Return an Arrow table whose users are not UTF-8 text."""
    _, offsets, data = pa.array([b"a", b"caf\xe9"]).buffers()
    return pa.table({"user": pa.StringArray.from_buffers(2, offsets, data), "item": ["x", "y"], "label": [0, 1]})


def parquet_of_other_bytes() -> bytes:
    """Return a Parquet file whose users are not UTF-8 text."""
    buffer = io.BytesIO()
    parquet.write_table(arrow_table(), buffer)
    return buffer.getvalue()


def unreadable(path: Path) -> None:
    """Put a file there that can't be read, not even by root where there is /proc."""
    if os.geteuid() == 0:
        path.symlink_to("/proc/self/mem")
    else:
        path.write_bytes(LINES)
        path.chmod(0)


def read_while_written(folder: Path, given: None) -> None:
    """Read a file to which another thread appends, until a reading meets an append."""
    with tempfile.TemporaryDirectory() as elsewhere:
        path, done = Path(elsewhere) / "rows.csv", threading.Event()
        path.write_bytes(LINES + b"a,x,0\n" * 100_000)

        def append() -> None:
            with path.open("ab", buffering=0) as file:
                while not done.wait(1e-4):
                    file.write(b"a,x,0\n")

        writer = threading.Thread(target=append)
        writer.start()
        try:
            with warnings.catch_warnings(action="ignore"):
                for _ in range(200):
                    read_file(folder, path)
        finally:
            done.set()
            writer.join()


def trained_on_the_test(folder: Path, frame: pd.DataFrame) -> None:
    """Evaluate a fit on the rows that it was trained on."""
    fit_it(folder, frame).evaluate(read(folder, frame))


ROWS = [
    of_frame(1, "list", lambda: [1, 2], DataError, "PB-D001: expected a DataFrame, got list; pass a pandas DataFrame"),
    of_frame(1, "None", lambda: None, DataError, "PB-D001: .*got NoneType"),
    of_frame(1, "series", lambda: frame_with()["user"], DataError, "PB-D001: .*got Series"),
    of_frame(2, "empty frame", lambda: frame_with()[:0], DataError, r"PB-D002: .*0 rows \(columns: user, item, label"),
    of_frame(2, "frame without columns", pd.DataFrame, DataError, "PB-D005: no column 'user'"),
    of_file(3, "empty file", b"", r"PB-D003: .*rows\.csv is empty"),
    of_file(4, "header only", b"user,item,label\n", r"PB-D002: .*0 rows .*rows\.csv"),
    of_file(
        *(5, "column missing", LINES.replace(b"user", b"usr")),
        r"PB-D005: no column 'user'; did you mean 'usr'\? Columns: usr, item, label",
    ),
    of_file(6, "column in capitals", LINES.replace(b"user", b"USER"), r"PB-D005: .*did you mean 'USER'\?"),
    of_file(6, "column with spaces", LINES.replace(b"user", b" user "), r"PB-D005: .*did you mean ' user '\?"),
    of_file(7, "column twice", LINES.replace(b"label", b"item"), "PB-D007: duplicate column names: item"),
    of_file(
        8, "semicolons", LINES.replace(b",", b";"), "PB-D008: .*one column 'user;item;label'; is its delimiter ';'"
    ),
    of_file(9, "byte order mark", b"\xef\xbb\xbf" + LINES, "", answer=None, exit_code=0),
    of_file(10, "UTF-16", LINES.decode().encode("utf-16"), "PB-D010: .*is UTF-16 text; convert it to UTF-8"),
    of_file(10, "UTF-16 without a mark", LINES.decode().encode("utf-16-be"), "PB-D010: .*is UTF-16 text"),
    of_file(
        *(11, "Latin-1", LINES.replace(b"a,x", b"caf\xe9,x")),
        r"PB-D011: .*perhaps Latin-1 .*byte 0xe9 at offset 19 \(line 2\); convert",
    ),
    of_file(11, "Latin-1 in the header", LINES.replace(b"label", b"lab\xe9l"), r"PB-D011: .*offset 13 \(line 1\)"),
    of_frame(11, "Arrow table of other bytes", arrow_table, DataError, "PB-D468: the table cannot be used: .*UTF-?8"),
    of_file(12, "gzip named csv", gzip.compress(LINES), r"PB-D315: .*gzip data; rename it to \.csv\.gz"),
    of_file(
        12, "zip named csv", b"PK\x03\x04\x14\x00\x00\x00\x08\x00", "PB-D459: .*a zip archive or an Excel workbook"
    ),
    of_file(13, "text named gz", LINES, r"PB-D013: .*rename it to \.csv", name=GZIPPED),
    of_file(14, "truncated gzip", gzip.compress(LINES)[:-12], "PB-D014: .*ends inside its gzip data", name=GZIPPED),
    of_file(
        *(15, "gzip bomb", lambda path: path.write_bytes(gzip.compress(bytes(2**20)) * 80)),
        "PB-D458: .*more than 250 bytes for each of its own",
        name=GZIPPED,
    ),
    of_file(
        *(16, "every row one field more", LINES.replace(b"\n", b",7\n").replace(b"label,7", b"label")),
        "PB-D017: .*6 rows .*header's 3, first row 2 with 4",
    ),
    of_file(17, "row of more fields", LINES + b"b,y,1,1\n", "PB-D017: .*1 rows .*first row 8 with 4: 'b,y,1,1'"),
    of_file(18, "row of fewer fields", LINES + b"b,y\n", "PB-D017: .*header's 3, first row 8 with 2"),
    of_file(19, "unclosed quote", LINES + b'"b,y,1\nc,z,1\n', "PB-D019: .*at line 8: '\"b,y,1'"),
    of_file(20, "NUL in an id", LINES.replace(b"a,x", b"a\0,x"), r"PB-D452: column 'user' has control .*'a\\x00'"),
    of_file(21, "newlines of old Macs", LINES.replace(b"\n", b"\r"), "", answer=None, exit_code=0),
    of_file(
        *(
            21,
            "newline in quotes",
            LINES.replace(b"label\n", b"label,title\n").replace(b"0\n", b'0,"x\ny"\n').replace(b"1\n", b"1,z\n"),
        ),
        "",
        answer=None,
        exit_code=0,
    ),
    of_file(
        22, "folder", lambda path: path.mkdir(), "PB-R022: cannot read .*directory", answer=RunFolderError, exit_code=5
    ),
    of_file(
        22, "missing file", lambda path: None, "PB-R022: cannot read .*No such file", answer=RunFolderError, exit_code=5
    ),
    of_file(23, "unreadable file", unreadable, "PB-R022: cannot read .*rows.csv", answer=RunFolderError, exit_code=5),
    of_file(24, "pipe", os.mkfifo, "PB-D456: .*not a regular file but a pipe"),
    of_file(24, "pipe named parquet", os.mkfifo, "PB-D456: .*not a regular file but a pipe", name=PARQUET),
    of_file(24, "device", lambda path: path.symlink_to("/dev/zero"), "PB-D456: .*not a regular file but a device"),
    of_file(25, "truncated Parquet", parquet_bytes()[:-9], "PB-D025: .*not a readable Parquet", name=PARQUET),
    of_file(25, "Parquet of other bytes", parquet_of_other_bytes(), "PB-D025: .*not a readable Parquet", name=PARQUET),
    of_file(25, "text named parquet", LINES, "PB-D025: .*not a readable Parquet", name=PARQUET),
    Row(26, "file that changes", read_while_written, DataError, "PB-D457: .*changed while it was read"),
    Row(
        *(27, "train as test", trained_on_the_test, DataError, "PB-D370: 6 of the 6 rows of the test were trained on"),
        prepare=lambda folder: frame_with(),
    ),
    of_frame(
        *(28, "MultiIndex", lambda: frame_with().set_axis(pd.MultiIndex.from_tuples([("k", 1)] * 6)), None, ""),
    ),
    of_frame(28, "duplicate index", lambda: frame_with().set_axis([7] * 6), None, ""),
]
