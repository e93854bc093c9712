"""What a file holds, whatever its name says: gzip data, which are unpacked within bounds, and content that is not CSV."""

import gzip
import io
import re
import zlib
from pathlib import Path

from pyro_popbias.errors import DataError

GZIP = b"\x1f\x8b"
CHUNK = 16 * 2**20  # bytes unpacked at once
LARGE = 64 * 2**20  # bytes, from which on the expansion is looked at
MOST_EXPANSION = 250  # bytes unpacked for each packed one: tables have 3 to 30, zeros 1,030
OTHER_DATA = {
    b"PK\x03\x04": "a zip archive or an Excel workbook; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save the sheet as CSV",
    b"PAR1": "Parquet data; rename it to .parquet",
    b"BZh": "bzip2 data; unpack it",
    b"\xfd7zXZ\x00": "xz data; unpack it",
    b"\x28\xb5\x2f\xfd": "Zstandard data; unpack it",
}
WIDE = {b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
BEGINNING = 4096  # bytes that tell text without a mark of its encoding


def unzip(path: Path, content: bytes) -> bytes:
    """Return what the content of a .csv.gz file unpacks to.

    Raises:
        DataError: it is not gzip data, is truncated or damaged, or grows as no table does.
    """
    if content and not content.startswith(GZIP[: len(content)]):
        raise DataError(f"PB-D013: {path} does not hold gzip data; rename it to .csv")
    unpacked = io.BytesIO()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            while chunk := file.read(CHUNK):
                unpacked.write(chunk)
                if unpacked.tell() > max(LARGE, MOST_EXPANSION * len(content)):
                    raise DataError(
                        f"PB-D458: {path} unpacks to more than {MOST_EXPANSION} bytes for each of its own {len(content)}, as no "
                        "table does; it was stopped there. If it is one, unpack it to .csv"
                    )
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"PB-D014: {path} ends inside its gzip data, or they are damaged; fetch it again ({error})"
        ) from error
    return unpacked.getvalue()


def refuse_other_content(path: Path, content: bytes) -> None:
    """Refuse what is not UTF-8 text.

    Raises:
        DataError: it is packed, of a program's own format, or in another encoding; the message says which.
    """
    if content.startswith(GZIP):
        raise DataError(f"PB-D315: {path} holds gzip data; rename it to .csv.gz")
    for mark, what in OTHER_DATA.items():
        if content.startswith(mark) and not _is_text(content):
            raise DataError(f"PB-D459: {path} holds {what}")
    encoding = next((name for mark, name in WIDE.items() if content.startswith(mark)), _guess(content))
    if encoding is not None:
        raise DataError(
            f"PB-D010: {path} is {encoding} text; convert it to UTF-8, for example with iconv -f {encoding} -t UTF-8"
        )
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"PB-D011: {path} is not UTF-8 text, perhaps Latin-1 or Windows-1252: byte 0x{content[error.start]:02x} at offset "
            f"{error.start} (line {line}); convert the file to UTF-8, for example with iconv -f LATIN1 -t UTF-8"
        ) from error


def _is_text(content: bytes) -> bool:
    return re.search(rb"[\x00-\x08\x80-\xff]", content[:BEGINNING]) is None


def _guess(content: bytes) -> str | None:
    """Return the encoding of text without a mark in which most characters have bytes of zero; None for any other."""
    start = content[:BEGINNING]
    share = start.count(0) / max(1, len(start))
    if not 0.3 <= share <= 0.9:
        return None
    return "UTF-16" if share < 0.6 else "UTF-32"
