"""Which tests are run against a mutant: those that ran its line when coverage was measured, its own file's first."""

import ast
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from coverage import CoverageData

from mutants.sites import ROOT, Mutant, lines_of

MOST_SECONDS = 80.0  # of the tests of one mutant, as they took where coverage was measured


@dataclass(frozen=True)
class Choice:
    """Tests of a mutant.

    Attributes:
        files: the test files, in order.
        ids: the tests in them, in order.
        known: all tests of whom it is known what they run; others in these files come first. None to run none but `ids`.
        seconds: that they took.
    """

    files: tuple[str, ...]
    ids: tuple[str, ...]
    known: frozenset[str] | None
    seconds: float


@dataclass
class Coverage:
    """What each test ran, by file and line.

    Attributes:
        lines: tests by line, by file relative to the root.
        seconds: of each test.
    """

    lines: dict[str, dict[int, set[str]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path | None) -> "Coverage":
        """Return what `make coverage` left in a folder: `*.coverage` with contexts, and `*.xml` with the tests' times."""
        found = cls()
        for path in sorted(folder.glob("*.xml")) if folder else []:
            for case in ElementTree.parse(path).iter("testcase"):  # noqa: S314 - a file of our own
                found.seconds[_id_of(case)] = float(case.get("time", 0))
        for path in sorted(folder.glob("*.coverage")) if folder else []:
            found._add(path)
        return found

    def _add(self, path: Path) -> None:
        data = CoverageData(str(path))
        data.read()
        for file in data.measured_files():
            # it may have been measured in another copy of the repository
            top = next((each for each in Path(file).parents if (each / "setup.cfg").is_file()), Path())
            own = self.lines.setdefault(str(Path(file).relative_to(top)), {})
            for line, contexts in data.contexts_by_lineno(file).items():
                own.setdefault(line, set()).update(filter(None, contexts))

    def choose(self, mutant: Mutant) -> Choice:
        """Return the tests of a mutant."""
        stem = Path(mutant.file).stem
        own_files = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob(f"test_{stem}*.py")}
        found = self._that_run(mutant)
        files = {test.partition("::")[0] for test in found} | own_files
        order = self._in_order(found, mutant.folder, own_files)
        total, chosen = 0.0, []
        for test in order:
            own = self.seconds.get(test, 0.0)
            if total + own <= MOST_SECONDS or not chosen:
                total += own
                chosen.append(test)
        ran = {test.partition("::")[0] for test in chosen} | own_files
        return Choice(tuple(sorted(files & ran)), tuple(chosen), frozenset(self.seconds), total)

    def _in_order(self, tests: set[str], folder: str, own_files: set[str]) -> list[str]:
        """Return tests of the mutant's own file first, then those of its folder; of a function one case before the next."""
        cases: dict[str, int] = {}
        rank: dict[str, tuple[int, int, float]] = {}
        for test in sorted(tests, key=lambda each: (self.seconds.get(each, 0.0), each)):
            file, function = test.partition("::")[0], test.partition("[")[0]
            far = 0 if file in own_files else 1 if file.startswith(f"tests/{folder}") else 2
            cases[function] = cases.get(function, -1) + 1
            rank[test] = far, cases[function], self.seconds.get(test, 0.0)
        return sorted(rank, key=lambda each: rank[each])

    def _that_run(self, mutant: Mutant) -> set[str]:
        lines = self.lines.get(mutant.file, {})
        found: set[str] = set()
        for line in _lines_of(ast.parse(mutant.source), mutant.place[0], list(lines)):
            for context in lines.get(line, ()):
                test, _, phase = context.rpartition("|")
                found.add(test)
                if phase == "setup":  # a fixture that the other tests of the file share
                    file = test.partition("::")[0]
                    found |= {each for each in self.seconds if each.startswith(f"{file}::")}
        return found


def _lines_of(tree: ast.Module, line: int, known: list[int]) -> Iterable[int]:
    """Return the lines that a change on one line shows in: its statement's, or its function's if that is a header.

    What stands outside functions runs on import, in no test: then these are all lines of the file.
    """
    around = [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and line in lines_of(node)]
    functions = [node for node in around if isinstance(node, ast.FunctionDef)]
    if not functions:
        return known
    own = min(around, key=lambda node: len(lines_of(node)))
    body = getattr(own, "body", None)
    if isinstance(own, ast.FunctionDef) or not body:
        return lines_of(own)
    return range(own.lineno, max(body[0].lineno, line + 1))


def _id_of(case: ElementTree.Element) -> str:
    """Return the id under which pytest knows a test case of its XML."""
    parts = str(case.get("classname")).split(".")
    number = next(n for n, part in enumerate(parts, 1) if part.startswith("test_"))
    return "::".join(["/".join(parts[:number]) + ".py", *parts[number:], str(case.get("name"))])
