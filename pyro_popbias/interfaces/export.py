"""A fit as a folder of Parquet files, for indexes of vectors such as those of faiss and hnswlib, and for tables of lists.

| file | a row is | columns |
| --- | --- | --- |
| `items.parquet` | an item | item, vector (i, b_i), popularity, quality where items have one, count, positives, cold |
| `users.parquet` | a user | user, vector (u, 1), offset: inner product + offset is the mean of the logit x |
| `lists.parquet` | an item of a user's list | what `fit.recommend` returns |
| `manifest.json` | | what the vectors are, how exact, by which study and versions, and the SHA-256 of each file |

Popularity is that of the last period with rows; it and quality have 90 % intervals. Rows are in the order of the fit's codes.
The inner product of a user's and an item's vector ranks items as the fit does (`interfaces.inner_products` says when). It does
not leave out what the user has seen: ask the index for more than are needed, and drop these. The folder is written whole or not
at all; rows are converted a block at a time.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from pyro_popbias.data.atomic_files import in_words, sha256, write_atomically
from pyro_popbias.errors import ConfigError, RunFolderError
from pyro_popbias.fitted import Fit
from pyro_popbias.interfaces.export_place import KIND, MANIFEST, new_export
from pyro_popbias.interfaces.inner_products import InnerProducts
from pyro_popbias.prediction.item_table import last_cells
from pyro_popbias.prediction.pairs import cold_items
from pyro_popbias.registry import nearest
from pyro_popbias.storage.run_folder import versions
from pyro_popbias.validation import require_integer

SCHEMA = 1
BLOCK = 4_000_000  # coordinates of vectors, or rows of lists, that are converted at once
SAMPLE, LENGTH = 100, 10  # users whose lists are compared with those of the fit, and how long
VECTORS = ("exact", "approximate", "none")
INTEGER = r"0|-?[1-9][0-9]{0,17}"  # as written, so that the text can be had back; within 64 bits
KINDS = {"item": pa.string(), "user": pa.string(), "rank": pa.int64(), "cold": pa.bool_()}  # others are float64


def export(
    fit: Fit,
    folder: str | Path,
    *,
    popularity: Any = "population",
    vectors: Literal["exact", "approximate", "none"] = "exact",
    lists: int = 0,
    ids: Literal["own", "text"] = "own",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write vectors, the table of items and lists to a new folder.

    Args:
        fit: the fit.
        folder: a path that does not exist, or an empty folder.
        popularity: as in `Fit.predict`.
        vectors: "exact" refuses where inner products do not rank as the fit does; "approximate" takes posterior means, and the
            manifest says how much of the lists agrees; "none" leaves vectors and users out.
        lists: number of items of each user's list; 0 writes none.
        ids: "own" writes ids as 64-bit integers where all of them are integers as text, else as text; "text" always as text.
        overwrite: whether the folder may hold an earlier export, which this one replaces.

    Returns:
        The manifest.

    Raises:
        ConfigError: an argument is out of its range, the fit has no vectors, or none that rank as it does.
        DataError: lists are asked for, and the run was saved without its interactions.
        RunFolderError: the folder exists, or cannot be written.
    """
    for name, value, choices in (("vectors", vectors, VECTORS), ("ids", ids, ("own", "text"))):
        if value not in choices:
            raise ConfigError(f"PB-C553: {name}={value!r}{nearest(str(value), choices)} Choices: {', '.join(choices)}")
    lists = require_integer("lists", lists, 0)
    scorer, found = fit.scorer(popularity), None
    if vectors != "none":
        found = InnerProducts.of(scorer)
        if found.inexact and vectors == "exact":
            raise ConfigError(
                f"PB-C554: {found.inexact}, so inner products rank items only nearly as the fit does; vectors='approximate' "
                "(--vectors approximate) exports posterior means and says how nearly, vectors='none' with lists=100 "
                "(--vectors none --lists 100) the lists themselves"
            )
    place = Path(folder)
    try:
        with new_export(place, overwrite=overwrite) as temporary:
            kinds = {side: _kind(getattr(fit.catalogue, f"{side}s"), ids) for side in ("user", "item")}
            blocks = {"items.parquet": _items(fit, found)}
            if found is not None:
                blocks["users.parquet"] = _users(fit, found)
            if lists:
                blocks["lists.parquet"] = _lists(fit, popularity, lists)
            files = {name: _write(temporary / name, each, kinds) for name, each in blocks.items()}
            manifest = _manifest(fit, found, files, popularity=popularity, ids=kinds)
            write_atomically(temporary / MANIFEST, json.dumps(manifest, indent=1).encode())
    except RunFolderError:
        raise
    except OSError as error:
        raise RunFolderError(f"PB-R100: cannot write {place}: {in_words(error, 0, place.parent)}") from error
    return manifest


def _kind(ids: "pd.Index[str]", asked: str) -> pa.DataType:
    """Return the type that ids are written as."""
    return pa.int64() if asked == "own" and ids.str.fullmatch(INTEGER).all() else pa.string()


def _items(fit: Fit, found: InnerProducts | None) -> Iterator[pa.Table]:
    """Yield the table of items, block after block."""
    catalogue, cell = fit.catalogue, last_cells(fit.catalogue)
    of_cell = fit.popularity().iloc[cell]
    columns: dict[str, Any] = {
        "popularity": of_cell["mean"],
        "popularity_lower": of_cell["lower"],
        "popularity_upper": of_cell["upper"],
    }
    if fit.model.affinity.item_quality is not None:
        quality = fit.items()
        columns |= {name: quality[name] for name in ("quality", "quality_lower", "quality_upper")}
    for name in ("count", "positives"):
        columns[name] = getattr(catalogue, name).reshape(-1, catalogue.periods).sum(1)
    columns["cold"] = cold_items(catalogue)
    for rows in _blocks(len(catalogue.items), 1 if found is None else found.items.shape[1]):
        own = {} if found is None else {"vector": _vectors(found.items[rows])}
        others = {name: pa.array(np.asarray(value)[rows]) for name, value in columns.items()}
        yield pa.table({"item": pa.array(catalogue.items[rows], pa.string()), **own, **others})


def _users(fit: Fit, found: InnerProducts) -> Iterator[pa.Table]:
    """Yield the table of users, block after block."""
    for rows in _blocks(len(fit.catalogue.users), found.items.shape[1]):
        vectors, offset = found.users(np.arange(rows.start, rows.stop))
        user = pa.array(fit.catalogue.users[rows], pa.string())
        yield pa.table({"user": user, "vector": _vectors(vectors), "offset": pa.array(offset)})


def _lists(fit: Fit, popularity: Any, k: int) -> Iterator[pa.Table]:
    """Yield users' lists, block after block of users."""
    for rows in _blocks(len(fit.catalogue.users), k):
        frame = fit.recommend(fit.catalogue.users[rows], k=k, popularity=popularity)
        schema = pa.schema([(name, KINDS.get(name, pa.float64())) for name in frame.columns])
        yield pa.Table.from_pandas(frame, schema=schema, preserve_index=False)


def _blocks(rows: int, width: int) -> Iterator[slice]:
    size = max(1, BLOCK // width)
    for start in range(0, rows, size):
        yield slice(start, min(rows, start + size))


def _vectors(rows: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def _write(path: Path, blocks: Iterator[pa.Table], kinds: dict[str, pa.DataType]) -> dict[str, Any]:
    """Write the blocks of a table to a file; return its rows, columns and hash."""
    writer, rows = None, 0
    with path.open("wb") as file:
        for block in blocks:
            for side, kind in kinds.items():
                if side in block.column_names:
                    place = block.column_names.index(side)
                    block = block.set_column(place, side, block[side].cast(kind))
            writer = writer or parquet.ParquetWriter(file, block.schema)
            writer.write_table(block)
            rows += len(block)
        assert writer is not None  # noqa: S101  a fit has users and items
        writer.close()
        file.flush()
        os.fsync(file.fileno())
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"rows": rows, "columns": {each.name: str(each.type) for each in writer.schema}, "sha256": digest}


def _manifest(
    fit: Fit, found: InnerProducts | None, files: dict[str, Any], *, popularity: Any, ids: dict[str, pa.DataType]
) -> dict[str, Any]:
    """Return what the folder says of itself."""
    if isinstance(popularity, Real):
        given: Any = float(popularity)
    else:
        given = popularity if isinstance(popularity, str) or "forecast" in popularity else "a value per item"
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "versions": versions(),
        "study_sha256": sha256(fit.study.with_names_of_files().to_toml().encode()),
        "model": fit.study.model.name,
        "popularity": given,
        "ids": {side: str(kind) for side, kind in ids.items()},
        "vectors": None if found is None else _of_vectors(fit, found),
        "files": files,
    }


def _of_vectors(fit: Fit, found: InnerProducts) -> dict[str, Any]:
    """Return what the vectors are, and how much of the lists of some users is that of the fit's, with nothing left out."""
    users, k = len(fit.catalogue.users), min(LENGTH, len(fit.catalogue.items))
    codes = np.unique(np.linspace(0, users - 1, min(SAMPLE, users)).astype(np.int64))
    ours = np.concatenate([each.cpu().numpy() for _, each in found.scorer.ranking().lists(codes, k, None)])
    theirs = found.best(codes, k)
    increases = "nearly increases" if found.inexact else "increases"
    shared = np.mean([len(np.intersect1d(*pair)) / k for pair in zip(ours, theirs, strict=True)])
    return {
        "dtype": "float32",
        "dim": found.items.shape[1],
        "metric": "inner product",
        "formula": f"items.vector . users.vector + users.offset = mean of the logit x; the score {increases} with it",
        "exact": not found.inexact,
        "inexact_because": found.inexact or None,
        "agreement": {"users": len(codes), "k": k, "share_of_items": round(float(shared), 4)},
    }
