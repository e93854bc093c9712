"""The places where cosmic-ray can change the source, in a random order that an edit elsewhere does not disturb."""

import ast
import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "distributions": "pyro_popbias/distributions",
    "objective": "pyro_popbias/objective.py",
    "training": "pyro_popbias/training",
    "data": "pyro_popbias/data",
    "storage": "pyro_popbias/storage",
}
BITS = {"BitAnd", "BitOr", "BitXor", "LShift", "RShift"}  # in place of arithmetic these only raise, or the reverse
MARKER = re.compile(r"\s*\*\s*(,|$)")
NEUTRAL = {"final", "overload", "staticmethod"}  # decorators without which nothing is computed otherwise
GUARDS = {"strict", "frozen", "eq", "validate_args"}  # arguments that only refuse what right code does not do

Place = tuple[int, int]  # line from 1, column from 0


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        folder: a key of `FOLDERS`.
        file: the file, relative to the root.
        place: where the change begins.
        operator: of cosmic-ray.
        occurrence: the number of the change among those of this operator in the file.
        source: of the file as it is.
    """

    folder: str
    file: str
    place: Place
    operator: str
    occurrence: int
    source: str

    @property
    def key(self) -> str:
        """What the result is kept under: the change and the function that it is in, wherever that stands in its file."""
        first, text = _surroundings(self.source, self.place[0])
        return f"{self.file}:{_digest(':'.join([text, str(self.place[0] - first), *self.difference]))[:16]}"

    @cached_property
    def mutated(self) -> str:
        """The changed source."""
        changed = mutate_code(self.source, get_operator(self.operator)(), self.occurrence)
        return str(changed)

    @property
    def difference(self) -> tuple[str, str]:
        """The changed lines as they were and as they are, without the spaces around them."""
        before, after = self.source.splitlines(), self.mutated.splitlines()
        first = next(n for n, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1])
        last = next(n for n, pair in enumerate(zip(before[::-1], after[::-1], strict=False)) if pair[0] != pair[1])
        texts = (lines[first : max(first + 1, len(lines) - last)] for lines in (before, after))
        return tuple(" ".join(line.strip() for line in text) for text in texts)  # type: ignore[return-value]


@cache
def mutants(seed: int = 0, only: str = "") -> list[Mutant]:
    """Return one mutant of each place, in random order; any first part is a sample with every folder in it.

    A folder's part grows with the root of the number of its places, so that the small ones are not left out.

    Args:
        seed: of the order.
        only: how the names of the files begin, relative to the root; all if empty.
    """
    found = []
    for folder in FOLDERS:
        top = ROOT / FOLDERS[folder]
        below = [top] if top.is_file() else sorted(top.rglob("*.py"))
        files = [file for file in below if str(file.relative_to(ROOT)).startswith(only)]
        ranked = sorted((each for file in files for each in _chosen(folder, file, seed)), key=lambda pair: pair[0])
        found += [((rank + 0.5) / math.sqrt(len(ranked)), each) for rank, (_, each) in enumerate(ranked)]
    return [each for _, each in sorted(found, key=lambda pair: pair[0])]


def _chosen(folder: str, path: Path, seed: int) -> Iterator[tuple[str, Mutant]]:
    """Yield one mutant of each place of a file, with a random text that it is ordered by."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    by_place: dict[Place, list[Mutant]] = {}
    file = str(path.relative_to(ROOT))
    left_out = _left_out(ast.parse(source))
    for operator, occurrence, place in _changes(source):
        marker = MARKER.match(lines[place[0] - 1][place[1] :])  # of arguments that go by keyword: no operator
        if not marker and not any(first <= place < last for first, last in left_out):
            by_place.setdefault(place, []).append(Mutant(folder, file, place, operator, occurrence, source))
    seen: dict[str, int] = {}
    for (line, column), own in sorted(by_place.items()):
        text = f"{seed}:{file}:{lines[line - 1]}:{column}"
        seen[text] = seen.get(text, 0) + 1  # a line may stand twice in a file
        random = _digest(f"{text}:{seen[text]}")
        yield random, sorted(own, key=lambda each: (each.operator, each.occurrence))[int(random[-12:], 16) % len(own)]


def _changes(source: str) -> Iterator[tuple[str, int, Place]]:
    """Yield the changes that cosmic-ray knows in a source: operator, occurrence, place."""
    nodes = list(ast_nodes(get_ast(source)))
    for name in operator_names():
        operator: Any = get_operator(name)
        _, _, pair = name.partition("ReplaceBinaryOperator_")
        mixed = pair and len({each in BITS for each in pair.split("_")}) > 1
        if mixed or operator.arguments():  # arguments are names of variables
            continue
        starts = (start for node in nodes for start, _ in operator().mutation_positions(node))
        yield from ((name, occurrence, start) for occurrence, start in enumerate(starts))


def _left_out(tree: ast.Module) -> list[tuple[Place, Place]]:
    """Return the stretches where a change computes nothing else: annotations, and decorators that only declare."""
    found: list[ast.expr | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            found.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found += [each for each in node.decorator_list if getattr(each, "id", None) in NEUTRAL]
            found.append(getattr(node, "returns", None))
        elif isinstance(node, ast.keyword) and node.arg in GUARDS:
            found.append(node.value)
    return [
        ((each.lineno, each.col_offset - 1), (each.end_lineno or 0, each.end_col_offset or 0)) for each in found if each
    ]


def _surroundings(source: str, line: int) -> tuple[int, str]:
    """Return the first line of the function or statement around a line, and its text."""
    around = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt) and line in lines_of(node)]
    functions = [node for node in around if isinstance(node, ast.FunctionDef)]
    own = min(functions or around, key=lambda node: len(lines_of(node)))
    return lines_of(own).start, ast.get_source_segment(source, own) or ""


def lines_of(node: ast.stmt) -> range:
    """Return the lines of a statement, with its decorators."""
    decorators = [each.lineno for each in getattr(node, "decorator_list", [])]
    return range(min([node.lineno, *decorators]), (node.end_lineno or node.lineno) + 1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
