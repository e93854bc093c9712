"""Rows 29 to 51: ids of users and items."""

from bad_inputs.row import Row

ROWS: list[Row] = []
