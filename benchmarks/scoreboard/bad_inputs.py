"""Figures 1 and 2: bad inputs, and names that are nearly right."""

from pathlib import Path

from bad_inputs.near_misses import near_misses

from scoreboard.section import Measured, Section, run_tests

LEAST_RIGHT = 0.95
QUICK = "test_answer and (005- or 029- or 052- or 076- or 092- or 095-)"  # some rows of each table


def bad_inputs(folder: Path, quick: bool) -> Measured:
    """Count the rows of bad inputs that get their answer, from Python, on the command line and under `python -O`."""
    passed, failed = run_tests("tests/reliability/test_bad_inputs.py", *["-k", QUICK] * quick)
    return Measured(f"{passed} of {passed + len(failed)} answers as demanded", not failed, tuple(failed))


def misspelt_names(folder: Path, quick: bool) -> Measured:
    """Count the misspelt names whose message suggests the name that was meant."""
    found = near_misses(200)
    missed = [name for name, right in found.items() if not right]
    share = 1 - len(missed) / len(found)
    return Measured(f"{len(found) - len(missed)} of {len(found)} right", share >= LEAST_RIGHT, tuple(missed))


SECTIONS = [
    Section(1, "bad inputs", "all of 102 rows answered, nothing lost, also under -O", bad_inputs, 5),
    Section(2, "near-miss names", ">= 95 % of 200 names with one typing error", misspelt_names, 0.1),
]
