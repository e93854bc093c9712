"""Labels 0 and 1 from a column: taken as they are, or by a rule such as ">=4"."""

import operator
import re

import numpy as np
import pandas as pd

from pyro_popbias.data.ids import examples
from pyro_popbias.errors import ConfigError, DataError

_COMPARISONS = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_RULE = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*")


def parse_rule(rule: str) -> tuple[str, float]:
    """Return the comparison and the number of a rule.

    Raises:
        ConfigError: the text is not a comparison and a number.
    """
    found = _RULE.fullmatch(rule) if isinstance(rule, str) else None
    if not found:
        raise ConfigError(
            f"PB-C004: positive_if={rule!r} is not a comparison with a number; write for example '>=4', "
            f"with one of {' '.join(_COMPARISONS)}"
        )
    return found[1], float(found[2])


def require_label_of_rule(label: str | None, rule: str | None) -> None:
    """Refuse a rule that has no column to read: all rows would be positives.

    Raises:
        ConfigError: there is a rule and no label.
    """
    if label is None and rule is not None:
        raise ConfigError(
            f"PB-C512: positive_if={rule!r} is a rule for a column of labels, and label= names none; name it, or leave the rule "
            "out, and every row is a positive"
        )


def holds(rule: str, values: np.ndarray) -> np.ndarray:
    """Return where a rule holds, booleans shaped as the numbers.

    Raises:
        ConfigError: the rule cannot be read.
    """
    comparison, number = parse_rule(rule)
    return np.asarray(_COMPARISONS[comparison](values, number))


def as_numbers(column: pd.Series, name: str) -> np.ndarray:
    """Return a column of labels or ratings as numbers `(N,)`.

    Args:
        column: numbers or booleans.
        name: the column's name for messages.

    Raises:
        DataError: values are missing or infinite, or are not real numbers.
    """
    column = column.reset_index(drop=True)
    missing = column.isna()
    if missing.any():
        raise DataError(
            f"PB-D053: column {name!r} has {missing.sum()} missing labels in {len(column)} rows, first at "
            f"{examples(missing)}; drop these rows"
        )
    kind = column.dtype
    real = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind)
    if not (real or pd.api.types.is_bool_dtype(kind)):
        shown = ", ".join(repr(value) for value in column.drop_duplicates().head(4))
        raise DataError(
            f"PB-D056: column {name!r} holds {column.dtype} values such as {shown}, not numbers; "
            "map them to 0 and 1 first, for example frame[column].map({'no': 0, 'yes': 1})"
        )
    values = column.to_numpy(dtype="float64")
    infinite = ~np.isfinite(values)
    if infinite.any():
        raise DataError(
            f"PB-D463: column {name!r} has {infinite.sum()} infinite labels in {len(values)} rows, first at "
            f"{examples(infinite)}; fix or drop these rows"
        )
    return values


def as_labels(column: pd.Series, name: str, positive_if: str | None) -> np.ndarray:
    """Return labels `(N,)`, unsigned bytes 0 and 1.

    Args:
        column: numbers or booleans.
        name: the column's name for messages.
        positive_if: a comparison with a number; None if labels are 0 and 1 already.

    Raises:
        DataError: values are missing or infinite, are not numbers, or are other than 0 and 1 without a rule.
        ConfigError: the rule cannot be read.
    """
    values = as_numbers(column, name)
    if positive_if is not None:
        return holds(positive_if, values).astype(np.uint8)
    # checked before any cast: int(0.9) would be a silent 0
    other = (values != 0) & (values != 1)
    if other.any():
        raise DataError(_other_values(pd.Series(values), pd.Series(other), name))
    return values.astype(np.uint8)


def _other_values(values: pd.Series, other: pd.Series, name: str) -> str:
    counts = values[other].value_counts()
    shown = ", ".join(f"{value:g} x{count}" for value, count in counts.head(5).items())
    return (
        f"PB-D052: column {name!r} must hold only 0 and 1; found {len(counts)} other value"
        f"{'s' if len(counts) > 1 else ''} in {other.sum()} of {len(values)} rows ({shown}; first at "
        f"{examples(other)}). {_advice(values)}"
    )


def _advice(values: pd.Series) -> str:
    """Return what to do about values other than 0 and 1, with a rule that makes some rows positive and some not."""
    above_least = np.unique(values)[1:]
    if not len(above_least):
        return "All rows have one value, which tells nothing apart: leave label out for a log of positives"
    middle = min(int(np.searchsorted(above_least, values.median())), len(above_least) - 1)
    threshold = np.format_float_positional(above_least[middle], trim="-")
    return f"Map them, or for ratings say what is a positive, for example positive_if='>={threshold}'"
