"""The figures of the reliability scoreboard: one module measures each, and `benchmarks/trust.py` prints them all."""
