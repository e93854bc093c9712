"""What hypothesis makes for each kind of content: texts with a grammar, to get past where random bytes are refused."""

import json
import struct
from collections.abc import Callable
from typing import Any

import tomli_w
from hypothesis import strategies as st

CELLS = [
    "",
    "0",
    "1",
    "u1",
    "NA",
    "nan",
    "inf",
    "1e999",
    "-0",
    "007",
    "1.0",
    '"',
    '""',
    "\0",
    "é",
    "\ud7ff",
    "\u200b",
    "=1+1",
]
COLUMNS = ["user", "item", "label", "time", "epoch", "elbo", "phase", "seconds", "User", " user", ""]
cells = (
    st.sampled_from(CELLS)
    | st.text(max_size=8)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.datetimes().map(str)
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
toml_scalars = (
    st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.datetimes() | st.dates() | st.times()
)


def _nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return values that hold others, and some that hold one another very deeply."""
    return st.recursive(
        leaves, lambda own: st.lists(own, max_size=3) | st.dictionaries(st.text(max_size=6), own, max_size=3)
    )


@st.composite
def csv(draw: Any, whole: bytes) -> bytes:
    """Rows of cells, quoted or not, under the right header or another."""
    header = draw(
        st.just(["user", "item", "label", "time"]) | st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=5)
    )
    ragged = draw(st.booleans())
    sizes = st.integers(0, 6) if ragged else st.just(len(header))
    if draw(st.booleans()):  # a table that can be used, but perhaps for a few cells
        header = ["user", "item", "label", "time"]
        ids, labels = st.sampled_from(["u1", "u2", "007", "é"]), st.sampled_from(["0", "1"])
        good = st.tuples(ids, ids, labels, st.integers(0, 99).map(str)).map(list)
        rows = draw(st.lists(good, min_size=2, max_size=8))
        for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
            rows[draw(st.integers(0, len(rows) - 1))][draw(st.integers(0, 3))] = draw(cells)
        return "\n".join(",".join(row) for row in [header, *rows]).encode("utf-8", "replace")
    rows = draw(st.lists(sizes.flatmap(lambda n: st.lists(cells, min_size=n, max_size=n)), max_size=6))
    quote, comma, end = (
        draw(st.sampled_from(["", '"'])),
        draw(st.sampled_from([",", ",", ";", "\t"])),
        draw(st.sampled_from(["\n", "\r\n", "\r"])),
    )
    lines = [comma.join(f"{quote}{cell}{quote}" for cell in row) for row in [header, *rows]]
    return (end.join(lines) + draw(st.sampled_from(["", end]))).encode(
        draw(st.sampled_from(["utf-8"] * 5 + ["utf-16", "latin-1"])), "replace"
    )


@st.composite
def jsons(draw: Any, whole: bytes) -> bytes:
    """The whole content with some values replaced, removed or added, huge numbers and deep nesting among them."""
    if not whole.startswith(b"{"):  # a value on each line
        lines = draw(st.lists(scalars.map(json.dumps) | st.text(max_size=8), max_size=6))
        return "\n".join(lines).encode("utf-8", "replace")
    facts = json.loads(whole)
    return draw(_edited(facts, _nested(scalars), draw(st.integers(0, 4)))).encode()


@st.composite
def _edited(draw: Any, facts: Any, values: st.SearchStrategy[Any], edits: int) -> str:
    for _ in range(edits):
        node = facts
        while isinstance(node, dict) and node and draw(st.booleans()):
            inner = node[draw(st.sampled_from(sorted(node)))]
            if not isinstance(inner, dict):
                break
            node = inner
        if isinstance(node, dict):
            name = draw(st.sampled_from([*sorted(node), "new"]))
            if draw(st.booleans()):
                node[name] = draw(_like(node.get(name)) | values)
            else:
                node.pop(name, None)
    text = json.dumps(facts)
    deep = draw(st.sampled_from(["", "", "", "deep", "digits"]))
    if deep == "deep":
        return text.replace(":", ":" + "[" * 5_000, 1)
    return text.replace("1", "1" * 5000, 1) if deep else text


@st.composite
def toml(draw: Any, whole: bytes) -> bytes:
    """The whole study with keys replaced, removed or added."""
    import tomllib

    facts = tomllib.loads(whole.decode())
    for _ in range(draw(st.integers(0, 4))):
        node: Any = facts
        while True:
            name = draw(st.sampled_from([*sorted(node), "new"]))
            if isinstance(node.get(name), dict) and draw(st.integers(0, 3)):
                node = node[name]
                continue
            node[name] = draw(_like(node.get(name)) | _nested(toml_scalars))
            break
    text = tomli_w.dumps(facts)
    deep = draw(st.sampled_from(["", "", "", "", "array", "table", "digits"]))
    more = {"array": f"\nx = {'[' * 5000}", "table": f"\n[{'.'.join('a' * 5000)}]\n", "digits": f"\nx = {'9' * 5000}"}
    return (text + more.get(deep, "")).encode("utf-8", "replace")


def _like(value: Any) -> st.SearchStrategy[Any]:
    """Return small values of the same type, or the value itself."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return st.integers(0, 9) if isinstance(value, int) else st.floats(0.001, 9)
    return st.just("gamma" if value is None else value)


@st.composite
def safetensors(draw: Any, whole: bytes) -> bytes:
    """The whole content with another header: other types, shapes, offsets and names, some very large."""
    size = struct.unpack("<Q", whole[:8])[0]
    header, body = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    names = sorted(name for name in header if name != "__metadata__")
    numbers = st.sampled_from([0, 1, 2, 2**31, 2**40, 2**63, -1]) | st.integers(0, 20)
    for _ in range(draw(st.integers(0, 3))):
        own = header.get(draw(st.sampled_from(names)))
        kind = draw(st.sampled_from(["dtype", "shape", "offsets", "name", "remove"]))
        if own is None:
            continue
        if kind == "dtype":
            own["dtype"] = draw(
                st.sampled_from(["F16", "F32", "F64", "BF16", "I64", "I32", "U8", "BOOL", "F8_E4M3", "U64", "X"])
            )
        elif kind == "shape":
            own["shape"] = draw(
                st.lists(numbers, max_size=3) | st.just([*own["shape"], 1]) | st.just(own["shape"][::-1])
            )
        elif kind == "offsets":
            own["data_offsets"] = draw(st.lists(numbers, min_size=1, max_size=3))
        else:
            name = draw(st.sampled_from(names))
            moved = header.pop(name, None)
            if kind == "name" and moved is not None:
                header[
                    draw(st.sampled_from(names) | st.text(max_size=4) | st.integers(0, 99).map(lambda n: f"{n}.model"))
                ] = moved
    text = json.dumps(header).encode()
    length = draw(st.sampled_from([len(text)] * 6 + [0, 2**63, 2**40, len(text) + 1]))
    content = bytearray(struct.pack("<Q", length) + text + body)
    return bytes(content[: draw(st.just(len(content)) | st.integers(0, len(content)))])


@st.composite
def changed_bytes(draw: Any, whole: bytes) -> bytes:
    """The whole content with some bytes changed, removed, repeated or put in."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place, length = draw(st.integers(0, max(len(data) - 1, 0))), draw(st.integers(1, 20))
        kind = draw(st.integers(0, 4))
        if kind == 0 and data:
            data[place] = draw(st.integers(0, 255))
        elif kind == 1:
            del data[place : place + length]
        elif kind == 2:
            data[place:place] = draw(st.binary(max_size=8))
        elif kind == 3:
            data[place:place] = data[place : place + length]
        else:
            del data[place:]
    return bytes(data)


KINDS: dict[str, Callable[[bytes], st.SearchStrategy[bytes]]] = {
    "csv": csv,
    "json": jsons,
    "toml": toml,
    "safetensors": safetensors,
    "bytes": changed_bytes,
}


def contents(kind: str, whole: bytes) -> st.SearchStrategy[bytes]:
    """Return what hypothesis makes of a kind of content.

    Args:
        kind: a key of `KINDS`.
        whole: a content that is read without an error.
    """
    return KINDS[kind](whole) | changed_bytes(whole)
