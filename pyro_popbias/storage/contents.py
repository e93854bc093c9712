"""The contents of a run folder's files, whose tables are decoded only where they fit into a budget of memory.

A few bytes of Parquet can stand for billions of rows. Tables are decoded as this package writes them: text, numbers and no
nested columns, without compression or with Snappy, which cannot make more than 22 bytes of one. All tables of a folder
together may take `LEAST` bytes, or `TIMES` what the files have. Rows may take a `SHARE`-th of the machine's memory in any case:
those of a regular log take a few bits each in the file.
"""

import json
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from pyro_popbias.data.machine_memory import memory_of_machine
from pyro_popbias.errors import UnsafeFileError
from pyro_popbias.storage.parquet_codecs import codecs_of
from pyro_popbias.storage.run_files import EARLIER, ROWS

LEAST = 268_435_456  # bytes
TIMES = 100
SHARE = 4
CODECS = {0: "uncompressed", 1: "Snappy"}
WIDTH = 16  # bytes of a number in Arrow and in pandas, or of the place of a text


def most_bytes(held: int) -> int:
    """Return how many bytes rows or vectors may take in memory, of a folder that holds some bytes."""
    return max(LEAST, TIMES * held, memory_of_machine() // SHARE)


class Contents(dict[str, bytes]):
    """Contents of files by name."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(files)
        held = sum(map(len, files.values()))
        self._left = {False: max(LEAST, TIMES * held), True: most_bytes(held)}  # whether of rows

    def table(self, name: str) -> pd.DataFrame:
        """Return the table of a file, with its `attrs`; what pandas noted of its types and index is ignored.

        Raises:
            UnsafeFileError: it would take more memory than is left of the budget, or is not compressed as is written.
        """
        # text is decoded as codes of its distinct values, whose number the length of the file limits
        file = parquet.ParquetFile(pa.BufferReader(self[name]), read_dictionary=self._texts(name), memory_map=False)
        self._spend(name, file.metadata.num_rows * file.metadata.num_columns * WIDTH)
        table = file.read()
        table.validate(full=True)
        columns = {}
        for field, column in zip(table.schema, table.columns, strict=True):
            if pa.types.is_dictionary(field.type):
                self._spend(name, 2 * _decoded(column))
                column = column.cast(field.type.value_type)
            columns[field.name] = column
        noted = table.schema.metadata or {}
        frame: pd.DataFrame = pa.table(columns).to_pandas()
        # pandas writes them apart; pyarrow's own note, beside the types, is only in files of newer versions
        frame.attrs = dict(json.loads(noted.get(b"PANDAS_ATTRS", b"{}")))
        return frame

    def _texts(self, name: str) -> list[str]:
        """Return the names of a file's columns of text, once its kind is known to be one that is written."""
        other = [f"codec {codec}" for codec in sorted(codecs_of(self[name]) - CODECS.keys(), key=str)]
        found = parquet.ParquetFile(pa.BufferReader(self[name]), memory_map=False)
        nested = [field.name for field in found.schema_arrow if pa.types.is_nested(field.type)]
        if other or nested:
            raise UnsafeFileError(
                f"PB-R157: {name} is not a table as it is written ({', '.join(other + nested)[:100]}: another "
                "compression or nested columns); restore the folder from a copy"
            )
        return [
            field.name
            for field in found.schema_arrow
            if any(kind(field.type) for kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary))
        ]

    def _spend(self, name: str, size: int) -> None:
        of_rows = name in (ROWS, EARLIER)
        self._left[of_rows] -= size
        if self._left[of_rows] < 0:
            raise UnsafeFileError(
                f"PB-R158: the table {name} would take {size:,} bytes in memory, more than files of this size can need; it was "
                "not written by this package"
            )


def _decoded(column: Any) -> int:
    """Return the bytes of a column of text, whose chunks are codes and distinct values."""
    total = 0
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary)
        total += pc.sum(pc.cast(pc.take(lengths, chunk.indices), pa.int64())).as_py() or 0
    return total
