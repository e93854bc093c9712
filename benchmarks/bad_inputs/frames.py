"""Rows 1 to 28: frames and files."""

from bad_inputs.row import Row

ROWS: list[Row] = []
