"""Rows 76 to 93: studies, names, numbers and the command line."""

from bad_inputs.row import Row

ROWS: list[Row] = []
