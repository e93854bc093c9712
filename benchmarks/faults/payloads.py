"""Hostile contents of run folders, by kind: each changes a copy of a run, whose hashes are made right again."""

import io
import json
import os
import pickle
import socket
import struct
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import safetensors.numpy
import tomli_w
from pyarrow import parquet

from pyro_popbias.data.atomic_files import sha256

Change = Callable[[Path], None]
MARK = "executed"  # file that a payload would write if it ran
FILES = ("parameters.safetensors", "users.parquet", "items.parquet", "interactions.parquet", "history.csv")
TEXTS = ("popularity.csv", "study.toml", "card.md", "manifest.json")


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {MARK}",)


def rehash(run: Path, *more: str) -> None:
    """Make the manifest's hashes those of the files; `more` names files to add."""
    manifest = json.loads((run / "manifest.json").read_text())
    for name in [*manifest["sha256"], *more]:
        if (run / name).is_file():
            manifest["sha256"][name] = sha256((run / name).read_bytes())
    (run / "manifest.json").write_text(json.dumps(manifest))


def content(name: str, made: Callable[[], bytes]) -> Change:
    """Return what replaces a file."""

    def change(run: Path) -> None:
        (run / name).write_bytes(made())
        if name != "manifest.json":
            rehash(run, name)

    return change


def tensors(change: Callable[[dict[str, np.ndarray]], Any]) -> Change:
    """Return what changes the tensors of a run."""

    def of(run: Path) -> None:
        path = run / "parameters.safetensors"
        found = safetensors.numpy.load(path.read_bytes())
        change(found)
        path.write_bytes(safetensors.numpy.save(found))
        rehash(run)

    return of


def header(text: bytes, rest: bytes = b"", *, length: int | None = None) -> Change:
    """Return a safetensors file of a header, whose length may be a lie."""
    return content(
        "parameters.safetensors", lambda: struct.pack("<Q", len(text) if length is None else length) + text + rest
    )


def table(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    """Return what changes a table."""

    def of(run: Path) -> None:
        change(pd.read_parquet(run / name)).to_parquet(run / name, index=False)
        rehash(run)

    return of


def arrow(name: str, made: Callable[[], pa.Table], **options: Any) -> Change:
    """Return what replaces a table."""

    def of(run: Path) -> None:
        parquet.write_table(made(), run / name, **options)
        rehash(run, name)

    return of


def study(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Return what changes the declared study."""

    def of(run: Path) -> None:
        found = tomllib.loads((run / "study.toml").read_text())
        change(found)
        (run / "study.toml").write_text(tomli_w.dumps(found))
        rehash(run)

    return of


def manifest(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Return what changes the manifest."""

    def of(run: Path) -> None:
        found = json.loads((run / "manifest.json").read_text())
        change(found)
        (run / "manifest.json").write_text(json.dumps(found))

    return of


def replaced(name: str, made: Callable[[Path], Any]) -> Change:
    """Return what puts something else in the place of a file."""

    def of(run: Path) -> None:
        (run / name).unlink()
        made(run / name)

    return of


def _zip(compressed: bool, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/"), text)
    return buffer.getvalue()


def _swap(run: Path) -> None:
    users, items = run / "users.parquet", run / "items.parquet"
    first, second = users.read_bytes(), items.read_bytes()
    users.write_bytes(second)
    items.write_bytes(first)
    rehash(run)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def _socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(before)


def _set(*keys: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        for key in keys[:-1]:
            found = found.setdefault(key, {})
        found[keys[-1]] = to

    return change


def _one(name: str, dtype: str, shape: list[int], span: tuple[int, int]) -> bytes:
    return json.dumps({name: {"dtype": dtype, "shape": shape, "data_offsets": span}}).encode()


def _repeated(rows: int, text: str = "u1") -> pa.Table:
    return pa.table({"id": pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([text]))})


def _extension() -> pa.Table:
    noted = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(_Bomb())}
    field = pa.field("id", pa.string(), metadata=noted)
    return pa.table([pa.array(["u1", "u2"])], schema=pa.schema([field]))


def _noted(text: bytes) -> pa.Table:
    return pa.table({"id": ["u1", "u2"]}).replace_schema_metadata({b"pandas": text})


BOMB = pickle.dumps(_Bomb())
KINDS: dict[str, Change] = {f"pickle in {name}": content(name, lambda: BOMB) for name in (*FILES, *TEXTS)}
KINDS |= {
    "TorchScript": content(FILES[0], lambda: _zip(False, m__data="x" and BOMB, m__code=b"import os")),
    "pickle in a zip": content(FILES[0], lambda: _zip(False, archive__data_pkl=BOMB)),
    "zip bomb": content(FILES[0], lambda: _zip(True, archive__data=bytes(200_000_000))),
    "legacy tar": content(FILES[0], lambda: b"storages".ljust(512, b"\0") + BOMB),
    "header of 2^63": header(b"{}", length=1 << 63),
    "header beyond the file": header(b"{}", length=1 << 20),
    "header of 101 MB": header(b" " * 101_000_000 + b"{}"),
    "header nested deeply": header(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "offsets beyond the file": header(_one("count", "I64", [8], (0, 64))),
    "offsets that overlap": header(
        b'{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},"b":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}',
        bytes(8),
    ),
    "offsets backwards": header(_one("count", "I64", [1], (8, 0)), bytes(8)),
    "a billion numbers of four bytes": header(_one("count", "F32", [10**9], (0, 4)), bytes(4)),
    "shape that overflows": header(_one("count", "F32", [1 << 40, 1 << 40], (0, 4)), bytes(4)),
    "unknown dtype": header(_one("count", "F128", [1], (0, 16)), bytes(16)),
    "no tensors": header(b"{}"),
    "tensors that are missing": tensors(lambda all_: all_.pop(next(name for name in all_ if name.startswith("guide.")))),
    "tensors too many": tensors(lambda all_: all_.update({"guide.evil": np.zeros(3)})),
    "NaN in parameters": tensors(lambda all_: [each.fill(np.nan) for n, each in all_.items() if each.dtype.kind == "f"]),
    "infinite parameters": tensors(lambda all_: [each.fill(np.inf) for n, each in all_.items() if n.startswith("guide.")]),
    "large parameters": tensors(lambda all_: [each.fill(300) for n, each in all_.items() if n.startswith("guide.popularity")]),
    "integers for parameters": tensors(
        lambda all_: all_.update({n: each.astype(np.int64) for n, each in all_.items() if n.startswith("model.")})
    ),
    "transposed parameters": tensors(lambda all_: all_.update({n: each.T.copy() for n, each in all_.items() if each.ndim == 2})),
    "negative counts": tensors(lambda all_: all_["count"].__isub__(10**6)),
    "counts of other items": tensors(lambda all_: all_.update(count=np.tile(all_["count"], 3))),
    "counts that are NaN": tensors(lambda all_: all_.update(count=np.full(len(all_["count"]), np.nan))),
    "edges without periods": tensors(lambda all_: all_.update(edges=np.array([np.nan, np.inf]))),
    "users and items swapped": _swap,
    **{f"guide {name} in its place": study(_set("guide", "name", to=name)) for name in ("lognormal", "weibull", "point")},
    "another guide with inf": study(_set("guide", "name", to="exponential")),
    **{f"model {name} in its place": study(_set("model", "name", to=name)) for name in ("additive", "pda")},
    "a billion dimensions": study(_set("model", "affinity", "dim", to=10**9)),
    "more dimensions than there are": study(_set("model", "affinity", "dim", to=4096)),
    "a plug-in named by a path": study(_set("guide", "name", to="../../evil.py")),
    "a plug-in named by a call": study(_set("model", "name", to="os:system")),
    "a plug-in named by a module": study(_set("model", "prior", "name", to="evil_package.module:Class")),
    "vectors outside": study(_set("model", "affinity", to={"name": "fixed", "user_vectors": "/etc/passwd", "item_vectors": "x"})),
    "counts outside": study(_set("model", "prior", to={"name": "gamma", "source": "counts", "counts": "/etc/passwd"})),
    "data outside": study(_set("data", "path", to="/etc/shadow")),
    "script in the study": study(_set("data", "user", to="<script>alert(1)</script>{{7*7}}")),
    "TOML nested deeply": content("study.toml", lambda: b"a = " + b"[" * 50_000 + b"]" * 50_000),
    "integer of 10,000 digits in TOML": content("study.toml", lambda: b"schema = " + b"9" * 10_000),
    "TOML that is not UTF-8": content("study.toml", lambda: b"schema = 1\n[data]\nuser = '\xff\xfe'\n"),
    "TOML with a key twice": content("study.toml", lambda: b"schema = 1\nschema = 1\n"),
    "manifest nested deeply": content("manifest.json", lambda: b'{"schema":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "integer of 10,000 digits in a manifest": content("manifest.json", lambda: b'{"schema": ' + b"9" * 10_000 + b"}"),
    "manifest of a gigabyte": replaced("manifest.json", _sparse),
    "manifest that is a list": content("manifest.json", lambda: b"[1, 2]"),
    "hashes that are no mapping": manifest(_set("sha256", to=["study.toml"])),
    "hashes that are numbers": manifest(_set("sha256", "study.toml", to=7)),
    "path out of the folder": manifest(_set("sha256", "../rows.csv", to="0" * 64)),
    "absolute path": manifest(_set("sha256", "/etc/passwd", to="0" * 64)),
    "path with NUL": manifest(_set("sha256", "a\0b", to="0" * 64)),
    "path of 10,000 characters": manifest(_set("sha256", "a" * 10_000, to="0" * 64)),
    "link out of the folder": replaced("study.toml", lambda path: path.symlink_to("/etc/passwd")),
    "link to a device": replaced("users.parquet", lambda path: path.symlink_to("/dev/zero")),
    "link to itself": replaced("users.parquet", lambda path: path.symlink_to(path)),
    "pipe": replaced("items.parquet", os.mkfifo),
    "pipe for the manifest": replaced("manifest.json", os.mkfifo),
    "socket": replaced("items.parquet", _socket),
    "folder for a file": replaced("users.parquet", Path.mkdir),
    "file of a terabyte": replaced("history.csv", _sparse),
    "twenty million equal ids": arrow("users.parquet", lambda: _repeated(20_000_000)),
    "a megabyte of text a million times": arrow("users.parquet", lambda: _repeated(1_000_000, "x" * 1_000_000)),
    "far compressed": arrow("users.parquet", lambda: pa.table({"id": ["x" * 3_000_000]}), compression="zstd"),
    "nested columns": arrow("users.parquet", lambda: pa.table({"id": [[["u1"]], [["u2"]]]})),
    "extension type that is pickled": arrow("users.parquet", _extension),
    "notes of pandas that are no JSON": arrow("users.parquet", lambda: _noted(b"{{{")),
    "notes of pandas with other types": arrow(
        "users.parquet", lambda: _noted(b'{"index_columns": ["id"], "columns": [], "attributes": 7}')
    ),
    "columns twice": arrow("users.parquet", lambda: pa.table([pa.array(["a"]), pa.array(["b"])], names=["id", "id"])),
    "no columns": arrow("users.parquet", lambda: pa.table({})),
    "ids that are missing": table("users.parquet", lambda frame: frame.assign(id=None)),
    "ids that are equal": table("items.parquet", lambda frame: frame.assign(id="same")),
    "ids that are numbers": table("items.parquet", lambda frame: frame.assign(id=np.arange(len(frame)) / 3)),
    "codes beyond the users": table("interactions.parquet", lambda frame: frame.assign(user=10**6)),
    "negative codes": table("interactions.parquet", lambda frame: frame.assign(item=-1)),
    "codes that are text": table("interactions.parquet", lambda frame: frame.assign(item="i1")),
    "labels of 7": table("interactions.parquet", lambda frame: frame.assign(label=7)),
    "rows that are not counted": table("interactions.parquet", lambda frame: pd.concat([frame] * 3)),
    "history without rows": content("history.csv", lambda: b"phase,epoch\n"),
    "history of another kind": content("history.csv", lambda: b"=cmd|' /C calc'!A0\n\0\n"),
    "popularity of another run": content("popularity.csv", lambda: b"item,mean\n" + b"x,1.0\n" * 5),
    "chains that are none": content("chains.safetensors", lambda: BOMB),
    "earlier rows that are none": content("earlier.parquet", lambda: BOMB),
    "features that are none": content("item_features.parquet", lambda: BOMB),
    "stored log elsewhere": content("stored_log.json", lambda: b'{"folder": "/etc", "fingerprint": "0"}'),
    "stored log that is a list": content("stored_log.json", lambda: b"[[[]]]"),
}  # fmt: skip
