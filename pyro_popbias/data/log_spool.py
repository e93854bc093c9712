"""Rows on their way to a random order: scattered over files as they come, each of which is permuted in memory later.

Every row goes to a file by chance, and each file is permuted as a whole, so that files one after the other hold a uniformly
random permutation of all rows, though no more than one of them is ever in memory.
"""

import os
from pathlib import Path

import numpy as np

SPREAD, PERMUTE = 1, 2  # streams of random numbers


class Spool:
    """The files that rows are scattered over.

    Args:
        folder: where they are.
        number: of files.
        dtype: of a row.
    """

    def __init__(self, folder: Path, number: int, dtype: np.dtype) -> None:
        self._dtype = dtype
        self._paths = [folder / f"spool-{k:04d}.bin" for k in range(number)]

    def begin(self, sizes: list[int]) -> None:
        """Cut every file to a number of bytes: what was written after the last commit is written again."""
        for path, size in zip(self._paths, sizes, strict=True):
            with path.open("ab") as file:
                file.truncate(size)

    def scatter(self, rows: np.ndarray, number: int) -> None:
        """Append some rows.

        Args:
            rows: `(n,)`.
            number: of this call, which decides where each row goes.
        """
        files = len(self._paths)
        place = np.random.default_rng((SPREAD, number)).integers(files, size=len(rows), dtype=np.uint16)
        rows = rows[np.argsort(place, kind="stable")]
        ends = np.cumsum(np.bincount(place, minlength=files))
        for path, part in zip(self._paths, np.split(rows, ends[:-1]), strict=True):
            if len(part):
                with path.open("ab") as file:
                    file.write(part.data)

    def commit(self) -> list[int]:
        """Make what was appended durable, and return the size of each file in bytes."""
        for path in self._paths:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        return [path.stat().st_size for path in self._paths]

    def permuted(self, number: int) -> np.ndarray:
        """Return the rows of a file in random order."""
        rows = np.fromfile(self._paths[number], dtype=self._dtype)
        return np.random.default_rng((PERMUTE, number)).permutation(rows)

    def remove(self, number: int) -> None:
        """Delete a file."""
        self._paths[number].unlink(missing_ok=True)
