"""What fuzzing found, and whole files: read, or refused by the package's own errors, each time again."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path.append(str(TESTS.parent / "benchmarks"))

from fuzzing import folders  # noqa: E402
from fuzzing.strategies import contents  # noqa: E402
from fuzzing.targets import TARGETS, Target  # noqa: E402
from fuzzing.turn import Turn, fault_of  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402

from pyro_popbias.errors import DataError  # noqa: E402

CORPUS = TESTS / "corpus"
every_target = pytest.mark.parametrize("name", TARGETS)


@pytest.fixture(scope="module", autouse=True)
def _folder():
    yield
    folders.remove_folder()


@every_target
def test_a_whole_file_is_read(name):
    TARGETS[name].read(TARGETS[name].whole())


@every_target
def test_what_was_found_is_answered(name):
    faults = {path.name: fault_of(TARGETS[name].read, path.read_bytes()) for path in (CORPUS / name).glob("*")}
    assert {file: fault for file, fault in faults.items() if fault} == {}


def test_the_corpus_is_small_and_of_targets():
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 200_000
    assert {path.parent.name for path in files} <= TARGETS.keys()


def test_an_uncaught_exception_is_kept_with_its_smallest_input(tmp_path, monkeypatch):
    def read(content):
        if content.startswith(b"a"):
            raise DataError("PB-D000: refused")
        return {b"b": 1}[content[:1]]

    monkeypatch.setitem(TARGETS, "csv", Target(read, lambda: b"b", "csv"))
    turn = Turn("csv", tmp_path, 0)
    for content in (b"a", b"b", b"cc", b"c", b"ccc"):
        turn.run(content)
    turn.close(keep_folder=True)
    (found,) = (path for path in (tmp_path / "findings" / "csv").iterdir() if path.suffix != ".txt")
    assert found.read_bytes() == b"c"
    assert found.with_suffix(".txt").read_text().startswith("KeyError at test_corpus.py:read")
    assert (tmp_path / "inputs" / "0.json").read_text() == "5"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["csv", "study", "checkpoint", "checkpoint-tensors"])
def test_what_is_made_of_a_whole_file_is_not_all_refused_or_all_read(name):
    target, outcomes = TARGETS[name], set()

    @settings(max_examples=40, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(contents(target.kind, target.whole()))
    def throw(content):
        try:
            target.read(content)
        except Exception as error:
            outcomes.add(str(error)[:7])
        else:
            outcomes.add("read")

    throw()
    assert "read" in outcomes
    assert len(outcomes) > 1
