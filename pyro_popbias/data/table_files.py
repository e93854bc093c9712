"""Tables in files: CSV, gzipped CSV and Parquet, read and written."""

import csv as pycsv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import pandas as pd
import pyarrow as pa
from pyarrow import csv, parquet

from pyro_popbias.data.file_content import refuse_other_content, unzip
from pyro_popbias.data.frames import check_columns
from pyro_popbias.data.regular_files import opened
from pyro_popbias.errors import ConfigError, DataError

ENDINGS = (".csv", ".csv.gz", ".parquet")
BLOCK = 2**20  # bytes that are parsed at once
MOST_BYTES = 2**31 - 1  # that can be
FORMULA = r"[=+\-@\t\r\n\x00]"  # first characters of text that a spreadsheet may run
NUMBER = r"[+-]?\d*\.?\d+(e[+-]?\d+)?"


def file_ending(path: Path) -> str:
    """Return the ending of a table's file, dot included.

    Raises:
        ConfigError: files with this ending are not read or written.
    """
    for ending in ENDINGS:
        if path.name.lower().endswith(ending):
            return ending
    raise ConfigError(f"PB-C008: {path} has an ending that is not read or written; use one of {', '.join(ENDINGS)}")


def read_table(
    path: str | Path, *, text: tuple[str, ...] = (), text_if_there: tuple[str, ...] = (), first_text: bool = False
) -> pd.DataFrame:
    """Return the table of a file.

    Args:
        path: a .csv, .csv.gz or .parquet file.
        text: required columns that are read as text whatever they hold: "007", "NA" and "1e5" are ids.
        text_if_there: optional columns, likewise read as text.
        first_text: whether the first column is read as text too.

    Raises:
        DataError: the content cannot be read.
        RunFolderError: the file does not exist or cannot be read.
        ConfigError: the ending is not known.
    """
    path = Path(path)
    ending = file_ending(path)
    with opened(path) as file:
        if ending == ".parquet":
            return _checked_columns(path, _read_parquet(path, file), text)
        content = file.read()
    content = unzip(path, content) if ending == ".csv.gz" else content
    return _read_csv(path, content, text, text_if_there=text_if_there, first_text=first_text)


def _read_parquet(path: Path, file: BinaryIO) -> pd.DataFrame:
    try:
        table = parquet.read_table(file)
        table.validate(full=True)  # text that is not UTF-8 would fail later, where it is used
        frame: pd.DataFrame = table.to_pandas(date_as_object=False)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"PB-D025: {path} is not a readable Parquet file: {_first_line(error)}") from error
    return frame


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _read_csv(
    path: Path, content: bytes, text: tuple[str, ...], *, text_if_there: tuple[str, ...], first_text: bool
) -> pd.DataFrame:
    if not content.strip():
        raise DataError(f"PB-D003: {path} is empty (0 bytes of content)")
    refuse_other_content(path, content)
    if content.count(b'"') % 2 and _ends_inside_quotes(content):
        raise DataError(f"PB-D019: {path} has an unclosed quote, in the row that begins {_open_quote(content)}")
    first = _first_name(content) if first_text else None
    table = _parse(path, content, [*text, *text_if_there, *([] if first is None else [first])])
    frame = table.to_pandas(date_as_object=False)
    missing = [name for name in text if name not in table.column_names]
    if missing and len(table.column_names) == 1:
        only = table.column_names[0]
        sign = next((sign for sign in ";\t|" if sign in only), None)
        if sign:
            raise DataError(f"PB-D008: {path} has one column {only!r}; is its delimiter {sign!r}? Convert it to commas")
    return _checked_columns(path, frame, text)


def _checked_columns(path: Path, frame: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    try:
        check_columns(frame, names)
    except DataError as error:
        raise DataError(f"{error} (in {path})") from error
    return frame


def _first_name(content: bytes) -> str | None:
    """Return the name of the first column; None where the header cannot be read."""
    try:
        options = csv.ParseOptions(newlines_in_values=True)
        return str(csv.open_csv(io.BytesIO(content[:BLOCK]), parse_options=options).schema.names[0])
    except pa.ArrowException:
        return None


def _parse(path: Path, content: bytes, text: Sequence[str], *, block: int = BLOCK) -> pa.Table:
    faults: list[csv.InvalidRow] = []

    def note(row: csv.InvalidRow) -> str:
        faults.append(row)
        return "skip"

    try:
        table = csv.read_csv(
            io.BytesIO(content),
            # threads would number no rows
            read_options=csv.ReadOptions(use_threads=False, block_size=block),
            parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(text, pa.string())),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        if "straddling" in str(error) and block < len(content) < MOST_BYTES:  # a row is longer than a block
            return _parse(path, content, text, block=len(content))
        raise DataError(f"PB-D017: {path} is not a readable CSV file: {_first_line(error)}") from error
    if faults:
        raise DataError(
            f"PB-D017: {path} has {len(faults)} rows whose number of fields is not the header's "
            f"{faults[0].expected_columns}, first row {faults[0].number} with {faults[0].actual_columns}: "
            f"{faults[0].text[:60]!r}; fix or quote these rows"
        )
    return table


def _ends_inside_quotes(content: bytes) -> bool:
    """Return whether the file ends inside a quoted field; a lone quote within a field, as in 12" vinyl, is text."""
    try:
        for _ in pycsv.reader(io.StringIO(content.decode(errors="replace"), newline=""), strict=True):
            pass
    except pycsv.Error as error:
        return "end of data" in str(error)
    return False


def _open_quote(content: bytes) -> str:
    """Return the number and the text of the line from which on quotes do not pair up."""
    quotes = 0
    start = (1, b"")
    for number, line in enumerate(content.splitlines(), 1):
        if quotes % 2 == 0:
            start = (number, line)
        quotes += line.count(b'"')
    return f"at line {start[0]}: {start[1][:60].decode(errors='replace')!r}"


def to_csv(frame: pd.DataFrame) -> bytes:
    """Return a table as CSV without spreadsheet formulas: text that would be one gets a leading apostrophe.

    That is text which starts with =, +, -, @, a tab, a line end or NUL, and is not a number (OWASP ASVS 1.2.10).
    """
    inert = {}
    for name in frame.columns[[pd.api.types.is_string_dtype(dtype) for dtype in frame.dtypes]]:
        text = frame[name].astype(str)
        inert[name] = text.mask(text.str.match(FORMULA) & ~text.str.fullmatch(NUMBER), "'" + text)
    # a carriage return ends a line, too, and what follows it would be a cell: csv quotes only the line end that it writes
    broken = any(text.str.contains("\r", regex=False).any() for text in inert.values())
    quoting: Literal[0, 2] = 2 if broken else 0  # csv.QUOTE_NONNUMERIC, csv.QUOTE_MINIMAL
    content: str = frame.assign(**inert).to_csv(index=False, lineterminator="\n", quoting=quoting)
    return content.encode()


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table as CSV or Parquet, atomically.

    In CSV an id that a spreadsheet would run as a formula gets a leading apostrophe; Parquet keeps ids as they are.

    Raises:
        ConfigError: the ending is not known.
        RunFolderError: it cannot be written.
    """
    from pyro_popbias.data.atomic_files import write_atomically

    path = Path(path)
    buffer = io.BytesIO()
    ending = file_ending(path)
    if ending == ".parquet":
        frame.to_parquet(buffer, index=False)
    else:
        buffer.write(to_csv(frame))
    content = buffer.getvalue()
    write_atomically(path, gzip.compress(content, mtime=0) if ending == ".csv.gz" else content)
