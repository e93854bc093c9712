"""do(z = value): popularity set to a number, the same for all items or one per item."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.distributions import constraints

from pyro_popbias.data.ids import as_text, column_of
from pyro_popbias.errors import ConfigError, DataError

SHOWN, MOST_SHOWN = 3, 40  # examples in messages, and characters of each


@dataclass(frozen=True, eq=False)
class DoValue:
    """Popularity that is given.

    Attributes:
        value: one number for all items, or numbers indexed by item id.
    """

    value: "float | pd.Series[float]"

    @property
    def is_shared(self) -> bool:
        """Whether all items have the same popularity."""
        return isinstance(self.value, float)

    def of(self, items: "pd.Index[str]") -> np.ndarray:
        """Return the popularity of items, `(n,)`.

        Args:
            items: `(n,)` ids, in any order and as often as they come.

        Raises:
            DataError: items have no value.
        """
        if isinstance(self.value, float):
            return np.full(len(items), self.value)
        position = self.value.index.get_indexer(items)
        if (position < 0).any():
            missing, distinct = items[position < 0].unique(), items.nunique()
            raise DataError(
                f"PB-D360: popularity has no value for {len(missing)} of {distinct} items "
                f"({_listed(missing)}); add them to the mapping, or pass a single number"
            )
        return self.value.to_numpy()[position]


def read_do_value(popularity: object, support: constraints.Constraint) -> DoValue | None:
    """Return a number or a mapping as given popularity; None for anything else.

    Args:
        popularity: what was passed. Keys of a mapping are item ids, as text or integers; it may hold more items than are
            asked for.
        support: where the model's popularity lives.

    Raises:
        ConfigError: values are not finite numbers in the support.
        DataError: keys are not ids.
    """
    if isinstance(popularity, Mapping):
        return DoValue(_by_item(popularity, support))
    if not isinstance(popularity, Real):
        return None
    value = _finite(popularity)
    if value is None or not _inside(value, support):
        raise ConfigError(f"PB-C360: popularity={popularity!r} must be {_wanted(support)}")
    return DoValue(value)


def _by_item(popularity: Mapping[Any, Any], support: constraints.Constraint) -> "pd.Series[float]":
    """Return a mapping's values by item id."""
    values = {item: _finite(value) for item, value in popularity.items()}
    wrong = [item for item, value in values.items() if value is None or not _inside(value, support)]
    if wrong:
        shown = [f"{item!r}: {shorten(repr(popularity[item]), MOST_SHOWN)}" for item in wrong]
        raise ConfigError(
            f"PB-C361: {len(wrong)} of {len(values)} values of popularity must be {_wanted(support)} ({_listed(shown)})"
        )
    ids = as_text(column_of(values), "popularity")
    return pd.Series(list(values.values()), index=pd.Index(ids), dtype="float64")


def _finite(value: object) -> float | None:
    """Return a finite number as Python's own; None for anything else, booleans too."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _inside(value: float, support: constraints.Constraint) -> bool:
    return bool(support.check(torch.tensor(value, dtype=torch.float64)))


def _wanted(support: constraints.Constraint) -> str:
    return "a finite number" if type(support) is type(constraints.real) else "a finite number > 0"


def _listed(shown: Any) -> str:
    return ", ".join(map(str, shown[:SHOWN])) + (", ..." if len(shown) > SHOWN else "")
