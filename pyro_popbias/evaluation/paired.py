"""Systems side by side on one test: each metric, and its difference from the first system with a paired interval."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pyro_popbias.errors import DataError
from pyro_popbias.evaluation.bootstrap import bounds, estimates, replicates
from pyro_popbias.evaluation.evaluate import Evaluation


def differences(systems: Mapping[str, Evaluation], metrics: Sequence[str], *, interval: float = 0.9) -> pd.DataFrame:
    """Return one row per system: each metric, and `metric_difference` from the first one with `_lower` and `_upper`.

    The interval is a bootstrap over users in which both systems see the same draw: it is far narrower than those of the
    two values, and does not hold 0 where one is better.

    Args:
        systems: by name, judged on the same users.
        metrics: names of metrics that all have.
        interval: probability between lower and upper.

    Raises:
        ConfigError: a system has no such metric.
        DataError: systems were judged on different users.
    """
    first = next(iter(systems.values()))
    for name, system in systems.items():
        if not np.array_equal(system.ids, first.ids):
            raise DataError(f"PB-D374: {name!r} was judged on other users than the first; fit all on the same rows")
    rows, base, users = [], None, len(first.ids)
    for name, system in systems.items():
        chosen = {metric: system.metric(metric, whose=repr(name)) for metric in metrics}
        value, drawn = estimates(chosen, users), replicates(chosen, users)
        base = base or (value, drawn)
        gap = value - base[0]
        lower, upper = bounds(drawn - base[1], gap, interval)
        row: dict[str, float] = {}
        for metric in metrics:
            of_gap = {"": gap, "_lower": lower, "_upper": upper}
            row |= {metric: value[metric]} | {f"{metric}_difference{end}": each[metric] for end, each in of_gap.items()}
        rows.append(row)
    return pd.DataFrame(rows, index=list(systems))
