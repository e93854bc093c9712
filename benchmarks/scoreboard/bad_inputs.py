"""Figures 1 and 2: bad inputs, and names that are nearly right."""

from pathlib import Path

from scoreboard.section import Measured, Section, run_tests


def bad_inputs(folder: Path, quick: bool) -> Measured:
    """Count the rows of bad inputs that get their answer, from Python, on the command line and under `python -O`."""
    passed, failed = run_tests("tests/reliability/test_bad_inputs.py", *["-k", "test_answer"] * quick)
    return Measured(f"{passed} of {passed + len(failed)} answers as demanded", not failed, tuple(failed))


SECTIONS = [Section(1, "bad inputs", "all of 102 rows answered, nothing lost, also under -O", bad_inputs, 5)]
