"""Rows 94 to 102: run folders, checkpoints and reports."""

from bad_inputs.row import Row

ROWS: list[Row] = []
