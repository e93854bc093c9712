"""The messages of errors and warnings, as they stand in the source, for the page of error codes."""

import ast
import re
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
FOLDERS = ("pyro_popbias", "models", "guides")
CODE = re.compile(r"PB-[DCNR]\d{3}")
INTEGER = "{name} must be an integer in its range"  # the message of `require_integer`, which takes the code


def messages():
    """Return one row per message: code, message (expressions shown as "...") and file."""
    found = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            found += [(code, text, name) for code, text in _messages(ast.parse(path.read_text(encoding="utf-8")))]
    table = pd.DataFrame(found, columns=["code", "message", "file"])
    return table.sort_values(["code", "file"], kind="stable", ignore_index=True)


def source_codes():
    """Return every code that is written anywhere in the source."""
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return {code for path in files for code in CODE.findall(path.read_text(encoding="utf-8"))}


def _messages(node):
    text = _template(node) if isinstance(node, ast.BinOp | ast.JoinedStr | ast.Constant) else None
    if text is not None and CODE.match(text):
        yield text[:7], text[9:] or INTEGER
        return
    for child in ast.iter_child_nodes(node):
        yield from _messages(child)


def _template(node):
    """Return the text of an expression, with names of placeholders where they are single words."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(part) or "" for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return f"{{{node.value.id}}}" if isinstance(node.value, ast.Name) else "..."
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (_template(node.left) or "...") + (_template(node.right) or "...")
    return None
