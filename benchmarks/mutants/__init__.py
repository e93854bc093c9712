"""Mutants of the package's source, and what is run against each: `benchmarks/mutation.py` counts how many tests notice."""
