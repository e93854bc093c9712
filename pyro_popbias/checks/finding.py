"""What the checks of a fit find: one rule, one sentence."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One rule of a check: what was measured, what was asked, and whether it holds.

    Attributes:
        check: which check it belongs to: "items", "population", "prior", "accuracy" or "convergence".
        name: what was measured.
        value: the number; NaN where the rule does not apply.
        bound: the number it is held against.
        passed: whether the rule holds, or does not apply.
        words: one plain sentence, with the numbers and what to do where it fails.
    """

    check: str
    name: str
    value: float
    bound: float
    passed: bool
    words: str
