"""Systems side by side on one test: each metric, and its difference from the first system with a paired interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pyro_popbias.errors import DataError
from pyro_popbias.evaluation.bootstrap import bounds, estimates, replicates
from pyro_popbias.evaluation.evaluate import Evaluation


@dataclass(frozen=True, eq=False)
class Draws:
    """Metrics of one system in the draws of a bootstrap over users.

    Attributes:
        ids: `(U,)` of the users that are judged.
        value: of each metric.
        drawn: `(REPLICATES, metrics)`; the draws of users are the same for all systems.
        notes: what was left out, and why, in words.
    """

    ids: np.ndarray
    value: "pd.Series[float]"
    drawn: pd.DataFrame
    notes: tuple[str, ...]

    @classmethod
    def of(cls, system: Evaluation, metrics: Sequence[str], *, name: str) -> "Draws":
        """Return some metrics of a system.

        Args:
            system: as it was judged.
            metrics: their names.
            name: of the system, for messages.

        Raises:
            ConfigError: it has no such metric.
        """
        users = len(system.ids)
        chosen = {metric: system.metric(metric, whose=repr(name)) for metric in metrics}
        return cls(system.ids, estimates(chosen, users), replicates(chosen, users), system.notes)


def differences(systems: Mapping[str, Evaluation], metrics: Sequence[str], *, interval: float = 0.9) -> pd.DataFrame:
    """Return what `differences_of_draws` does for systems as they were judged.

    Args:
        systems: by name, judged on the same users.
        metrics: names of metrics that all have.
        interval: probability between lower and upper.

    Raises:
        ConfigError: a system has no such metric.
        DataError: systems were judged on different users.
    """
    draws = {name: Draws.of(system, metrics, name=name) for name, system in systems.items()}
    return differences_of_draws(draws, interval=interval)


def differences_of_draws(systems: Mapping[str, Draws], *, interval: float = 0.9) -> pd.DataFrame:
    """Return one row per system: each metric, and `metric_difference` from the first one with `_lower` and `_upper`.

    The interval is a bootstrap over users in which both systems see the same draw: it is far narrower than those of the
    two values, and does not hold 0 where one is better.

    Args:
        systems: by name, judged on the same users by the same metrics.
        interval: probability between lower and upper.

    Raises:
        DataError: systems were judged on different users.
    """
    first = next(iter(systems.values()))
    for name, system in systems.items():
        if not np.array_equal(system.ids, first.ids):
            raise DataError(f"PB-D374: {name!r} was judged on other users than the first; fit all on the same rows")
    rows = []
    for system in systems.values():
        gap = system.value - first.value
        lower, upper = bounds(system.drawn - first.drawn, gap, interval)
        row: dict[str, float] = {}
        for metric in map(str, first.drawn.columns):
            of_gap = {"": gap, "_lower": lower, "_upper": upper}
            row |= {metric: system.value[metric]}
            row |= {f"{metric}_difference{end}": each[metric] for end, each in of_gap.items()}
        rows.append(row)
    return pd.DataFrame(rows, index=list(systems))
