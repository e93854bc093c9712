"""Every row of the contract of bad inputs: class, message, exit code, nothing lost, and the same under `python -O`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from bad_inputs.evaluate import all_rows, evaluate  # noqa: E402
from bad_inputs.near_misses import declared, near_misses  # noqa: E402

ROWS = all_rows()
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@pytest.fixture(scope="module")
def optimized(tmp_path_factory):
    """Return the outcome of each row under `python -O`."""
    out = tmp_path_factory.mktemp("optimized") / "outcomes.json"
    command = [sys.executable, "-O", str(BENCHMARKS / "bad_inputs" / "evaluate.py"), str(out)]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdin=subprocess.DEVNULL)
    return json.loads(out.read_text())


def look_at(row, outcome):
    assert not outcome["lost"]
    if row.call is not None:
        assert row.answer is None or row.answer.__name__ in outcome["classes"], outcome["message"]
        assert row.answer is not None or not outcome["classes"], outcome["message"]
        assert re.search(row.message, outcome["message"])
    if row.arguments is not None:
        assert "Traceback" not in outcome["printed"]
        assert outcome["exit_code"] == row.exit_code, outcome["printed"]
        assert re.search(row.message, outcome["printed"])


@every_row
def test_answer(row, tmp_path):
    look_at(row, vars(evaluate(row, tmp_path)))


@pytest.mark.slow
@every_row
def test_same_answer_without_assertions(row, optimized):
    look_at(row, optimized[row.name])


def test_no_row_is_missing():
    assert {row.number for row in ROWS} == set(range(1, 103))


def test_misspelt_names_bring_the_name_that_was_meant():
    found = near_misses(100, seed=1)
    assert sum(found.values()) >= 0.95 * len(found), [name for name, right in found.items() if not right]
    groups = {names.of: names.known for names in declared()}
    assert {"model", "guide", "columns", "[training]", "[model.affinity] of embedding", "popbias fit"} <= groups.keys()
    assert "learning_rate" in groups["[training]"]
