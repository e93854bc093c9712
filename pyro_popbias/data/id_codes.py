"""Ids of a stream as codes: as text, numbered in the order in which they are first met."""

import json
from itertools import islice

import numpy as np
import pandas as pd
import pyarrow as pa

from pyro_popbias.data.ids import as_text, warn_of_forms
from pyro_popbias.errors import DataError


class IdCodes:
    """The ids of users, or of items, that were met so far.

    Args:
        name: of the column, for messages.
        lines: what `new_lines` has given, where a reading goes on.
    """

    def __init__(self, name: str, lines: bytes = b"") -> None:
        self._name = name
        self._codes: dict[str, int] = {text: code for code, text in enumerate(map(json.loads, lines.splitlines()))}
        self._written = len(self._codes)

    def __len__(self) -> int:
        return len(self._codes)

    def encode(self, column: pa.Array) -> np.ndarray:
        """Return the codes of a batch `(n,)`; ids not met before get the next ones.

        Raises:
            DataError: ids cannot be used; rows are counted within the batch.
        """
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if column.null_count:
            as_text(column.to_pandas(), self._name)  # says which
        found = column.dictionary_encode()
        codes = self._codes
        own = [codes.setdefault(text, len(codes)) for text in self._texts(column, found.dictionary)]
        return np.array(own, dtype=np.int32)[found.indices.to_numpy()]

    def _texts(self, column: pa.Array, distinct: pa.Array) -> list[str]:
        if pa.types.is_integer(distinct.type):
            texts: list[str] = distinct.cast(pa.string()).to_pylist()
            return texts
        try:
            return list(as_text(distinct.to_pandas(), self._name))
        except DataError:
            as_text(column.to_pandas(), self._name)  # the same fault, with the numbers of its rows
            raise

    def new_lines(self) -> bytes:
        """Return the ids met since the last call, one JSON string a line, as any text may be an id."""
        new = list(islice(reversed(self._codes), len(self._codes) - self._written))[::-1]
        self._written = len(self._codes)
        return "".join(f"{json.dumps(text)}\n" for text in new).encode()

    def warn(self) -> None:
        """Warn where ids that a reader takes for one are different.

        Warns:
            DataWarning: as `ids.warn_of_forms`.
        """
        warn_of_forms(pd.Index(list(self._codes), dtype=str), self._name)
