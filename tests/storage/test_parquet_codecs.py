"""Codecs of Parquet files, beside pyarrow's own reading of them, and in footers that are none."""

import io

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from pyro_popbias.storage.parquet_codecs import codecs_of

NUMBERS = {None: 0, "snappy": 1, "gzip": 2, "brotli": 4, "zstd": 6, "lz4": 7}
FRAME = pd.DataFrame({"id": [f"i{code}" for code in range(100)], "x": np.arange(100.0), "when": pd.Timestamp("2026")})


def written(frame=FRAME, **options):
    buffer = io.BytesIO()
    frame.to_parquet(buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("name", NUMBERS, ids=str)
def test_codecs_are_those_that_pyarrow_wrote(name):
    content = written(compression=name, row_group_size=30)
    column = parquet.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(0)
    assert codecs_of(content) == {NUMBERS[name]}
    assert column.compression.lower() == {None: "uncompressed"}.get(name, name)


def test_each_column_has_its_own():
    assert codecs_of(written(compression={"id": "gzip", "x": "snappy"})) == {0, 1, 2}
    assert codecs_of(written(FRAME.head(0))) <= {0, 1}


def test_fields_that_are_not_known_are_skipped():
    content = written(compression="gzip")
    size = int.from_bytes(content[-8:-4], "little")
    footer = content[-8 - size : -8]
    assert footer.endswith(b"\x00")
    more = footer[:-1] + b"\x17" + bytes(range(1, 9)) + b"\x18\x03abc\x00"  # a double and a text
    assert codecs_of(content[: -8 - size] + more + len(more).to_bytes(4, "little") + b"PAR1") == {2}


def with_footer(footer):
    return b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PAR1",
        written()[:-9] + written()[-8:],
        with_footer(b"\x4c" * 60),
        with_footer(b"\x49\xfc" + b"\xff" * 9),
        with_footer(b"\x48\x7f\x00"),
        with_footer(b"\x4d\x00\x00"),
        with_footer(b"\x15\x00\x00"),
        with_footer(b"\x15" + b"\xff" * 1_000_000),
        with_footer(b"\x49" + b"\x19" * 100_000),
    ],
    ids=["empty", "short", "cut", "deep", "long list", "long text", "kind", "no groups", "long integer", "deep lists"],
)
def test_what_is_no_footer(content):
    with pytest.raises(ValueError, match="Parquet footer"):
        codecs_of(content)


def test_footers_with_a_random_byte_are_read_or_refused_in_words():
    random = np.random.default_rng(0)
    whole = written()
    size = int.from_bytes(whole[-8:-4], "little")
    said = set()
    for _ in range(2_000):
        content = bytearray(whole)
        content[-8 - random.integers(1, size + 1)] = random.integers(256)
        try:
            said.add(f"read {len(codecs_of(bytes(content)))}")
        except ValueError as error:
            said.add(str(error))
    assert "read 1" in said
    assert all("Parquet footer" in each for each in said if not each.startswith("read"))
