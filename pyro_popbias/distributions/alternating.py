"""Acceleration of alternating series whose terms are moments.

The weights are from Cohen, Rodriguez Villegas and Zagier 2000, Convergence acceleration of alternating series,
Experimental Mathematics 9.
"""

from fractions import Fraction
from functools import cache

TERMS = 16  # error below 2 * 5.83^-16 = 1.1e-12 for every distribution on the positive numbers


@cache
def alternating_weights(terms: int) -> tuple[float, ...]:
    """Return weights w such that sum_k w_k a_k approximates the series sum_k (-1)^k a_k.

    Args:
        terms: number of weights; the a_k are moments of a distribution on [0, 1].
    """
    before, total = 1, 3
    for _ in range(terms - 1):
        before, total = total, 6 * total - before  # Chebyshev's T_n(3) = ((3 + sqrt 8)^n + (3 - sqrt 8)^n) / 2
    term, partial, weights = Fraction(-1), Fraction(-total), []
    for k in range(terms):
        partial = term - partial
        weights.append(float(partial / total))
        term *= Fraction(2 * (k + terms) * (k - terms), (2 * k + 1) * (k + 1))
    return tuple(weights)
