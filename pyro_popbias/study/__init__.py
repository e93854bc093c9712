"""Studies: everything that decides a fit but the data, as values that are checked when they are made."""
