"""The codecs that the columns of a Parquet file say they are compressed with, read from its footer.

pyarrow says them, too, but ends the whole process at a number that is no codec. The footer is a struct of Thrift's compact
protocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md); where codecs stand in it is
declared by https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from typing import Any

MAGIC = b"PAR1"
DEEPEST, BITS = 16, 64  # levels of structs and lists, of which a footer has seven; bits of an integer
ROW_GROUPS, COLUMNS, DESCRIPTION, CODEC = 4, 1, 3, 4  # numbers of fields


def codecs_of(content: bytes) -> set[int | None]:
    """Return the numbers of the codecs in the content of a file, None where a column names none.

    Raises:
        ValueError: the footer cannot be read.
    """
    size = int.from_bytes(content[-8:-4], "little")
    if content[-4:] != MAGIC or not 0 < size <= len(content) - 8:
        raise ValueError("there is no Parquet footer")
    try:
        footer = _Compact(content[-8 - size : -8]).struct(0)
        return {
            column.get(DESCRIPTION, {}).get(CODEC) for group in footer[ROW_GROUPS] for column in group.get(COLUMNS, [])
        }
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError("the Parquet footer cannot be read") from error


class _Compact:
    """A reader of the compact protocol: numbers as they are, structs by field number; text is skipped."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def struct(self, depth: int) -> dict[int, Any]:
        """Return the fields of a struct by their numbers."""
        if depth > DEEPEST:
            raise ValueError(f"the Parquet footer has more than {DEEPEST} levels")
        found: dict[int, Any] = {}
        number = 0
        while kind := self._byte():
            number = number + (kind >> 4) if kind >> 4 else self._integer()
            found[number] = self._value(kind & 15, depth + 1)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        match kind:
            case 1 | 2:  # a truth value is its own kind
                return kind == 1
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._integer()
            case 7:
                return self._skip(8)
            case 8:
                return self._skip(self._varint())
            case 9 | 10:
                return self._list(depth)
            case 12:
                return self.struct(depth)
        raise ValueError(f"the Parquet footer has a value of the unknown kind {kind}")

    def _list(self, depth: int) -> list[Any]:
        if depth > DEEPEST:
            raise ValueError(f"the Parquet footer has more than {DEEPEST} levels")
        header = self._byte()
        number = header >> 4 if header >> 4 < 15 else self._varint()
        if number > len(self._content):
            raise ValueError("the Parquet footer has a list that is longer than itself")
        if header & 15 in (1, 2):  # truth values take a byte each
            return [self._byte() == 1 for _ in range(number)]
        return [self._value(header & 15, depth + 1) for _ in range(number)]

    def _byte(self) -> int:
        self._at += 1
        return self._content[self._at - 1]

    def _varint(self) -> int:
        found = shift = 0
        while (byte := self._byte()) & 128:
            found |= (byte & 127) << shift
            shift += 7
            if shift > BITS:
                raise ValueError(f"the Parquet footer has an integer of more than {BITS} bits")
        return found | byte << shift

    def _integer(self) -> int:
        found = self._varint()
        return found >> 1 ^ -(found & 1)

    def _skip(self, size: int) -> None:
        self._at += size
        if self._at > len(self._content):
            raise ValueError("the Parquet footer ends too early")
