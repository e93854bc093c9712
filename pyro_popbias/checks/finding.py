"""One finding of a check: a rule, its numbers and a sentence."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One rule of a check: the measured value, its bound, and whether the rule holds.

    Attributes:
        check: which check it belongs to: "items", "population", "prior", "identification", "accuracy",
            "evidence" or "convergence".
        name: what was measured.
        value: the measured number; NaN where the rule does not apply.
        bound: the largest allowed value; NaN where the value is only reported.
        passed: whether the rule holds or does not apply.
        words: one sentence with the numbers, their units, and what to do if the rule fails.
        remedy: what to do if the rule fails, which words ends with; empty where it holds.
    """

    check: str
    name: str
    value: float
    bound: float
    passed: bool
    words: str
    remedy: str = ""

    @property
    def measured(self) -> str:
        """What was found, in words without the remedy."""
        found = self.words.removesuffix(".").removesuffix(self.remedy) if self.remedy else self.words
        return found.rstrip(" ;:.")
