"""Accuracy against popularity bias: a fit on a test under each popularity mode, and along a knob between two of them.

The knob is `PartialPopularity`: with a share of 0 items rank by affinity, with a share of 1 by affinity and
their own popularity.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import ConfigError, DataWarning
from pyro_popbias.evaluation.bootstrap import bounds, estimates, inside, replicates
from pyro_popbias.evaluation.evaluate import Evaluation, evaluate, lengths_of
from pyro_popbias.prediction.intervention import Mode, Popularity
from pyro_popbias.prediction.partial_popularity import PartialPopularity
from pyro_popbias.prediction.scorer import Scorer

MODES: tuple[Mode, ...] = ("none", "population", "prior", "posterior")
SHARE = "share"  # what a table calls the popularity of the knob
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
ACCURACY, BIAS = "ndcg@20", "average_popularity@20"


@dataclass(frozen=True, eq=False)
class TradeOff:
    """A fit on one test under several popularities.

    Attributes:
        systems: by mode, with a share that is NaN, and by share, named "share".
        accuracy: name of the metric of accuracy.
        bias: name of the metric of popularity bias.
    """

    systems: Mapping[tuple[str, float], Evaluation]
    accuracy: str
    bias: str

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out of the test, and why, in words; what is true of some popularities only comes after their names."""
        common = [
            note
            for note in next(iter(self.systems.values())).notes
            if all(note in system.notes for system in self.systems.values())
        ]
        of_some: dict[str, list[str]] = {}
        for (popularity, share), system in self.systems.items():
            for note in system.notes:
                if note not in common:
                    of_some.setdefault(note, []).append(popularity if np.isnan(share) else f"{popularity} {share:g}")
        return *common, *(f"{', '.join(names)}: {note}" for note, names in of_some.items())

    def table(self, interval: float = 0.9) -> pd.DataFrame:
        """Return one row per popularity: popularity, share, both metrics and their differences from "none".

        Intervals, `_lower` and `_upper`, are of a bootstrap over users that is paired: all rows see the same draws.

        Args:
            interval: probability between lower and upper.
        """
        names = [self.accuracy, self.bias]
        metrics = {
            f"{number} {name}": system.metric(name)
            for number, system in enumerate(self.systems.values())
            for name in names
        }
        users = len(next(iter(self.systems.values())).ids)
        value, drawn = estimates(metrics, users), replicates(metrics, users)
        shape = len(self.systems), len(names)
        first = np.tile(np.arange(len(names)), shape[0])  # where the metric of "none" stands
        gap, moved = value - value.to_numpy()[first], drawn - drawn.to_numpy()[:, first]
        columns: dict[str, np.ndarray] = {}
        for ending, of, draws in (("", value, drawn), ("_difference", gap, moved)):
            lower, upper = bounds(draws, of, interval)
            if not ending:
                lower, upper = (inside(end, names * len(self.systems)) for end in (lower, upper))
            ends = {"": of, "_lower": lower, "_upper": upper}
            for place, name in enumerate(names):
                columns |= {
                    f"{name}{ending}{end}": each.to_numpy().reshape(shape)[:, place] for end, each in ends.items()
                }
        popularity = pd.DataFrame(list(self.systems), columns=["popularity", "share"])
        table = pd.concat([popularity, pd.DataFrame(columns)], axis=1)
        table.attrs["notes"] = self.notes
        return table


def judge_trade_off(
    scorer: Scorer,
    test: Interactions,
    *,
    train: Interactions,
    candidates: str,
    shares: Sequence[float] = SHARES,
    accuracy: str = ACCURACY,
    bias: str = BIAS,
    score: np.ndarray | None = None,
) -> TradeOff:
    """Return a fit on a test under each mode and share.

    Args:
        scorer: the trained pair; what it integrates over does not matter.
        test: as in `evaluate`.
        train: as in `evaluate`.
        candidates: as in `evaluate`.
        shares: of an item's own popularity.
        accuracy: name of the metric of accuracy.
        bias: name of the metric of popularity bias.
        score: as in `evaluate`.

    Raises:
        ConfigError: shares are not finite numbers, or there is no such metric.
        DataError: as in `evaluate`.
    """
    if isinstance(shares, str) or not isinstance(shares, Sequence | np.ndarray):
        raise ConfigError(f"PB-C391: shares must be a list of numbers, such as {list(SHARES)}, not {shares!r}")
    if accuracy == bias:
        raise ConfigError(
            f"PB-C392: accuracy and bias are both {accuracy!r}; name two metrics, such as {ACCURACY} and {BIAS}"
        )
    lengths = lengths_of([accuracy, bias])
    asked: dict[tuple[str, float], Popularity] = {(mode, np.nan): mode for mode in MODES}
    knob = PartialPopularity.of(scorer)
    asked |= {(SHARE, float(share)): knob.at(share) for share in shares}
    systems: dict[tuple[str, float], Evaluation] = {}
    for key, popularity in asked.items():
        with warnings.catch_warnings():
            if systems:
                warnings.simplefilter("ignore", DataWarning)  # the first has said so
            found = evaluate(
                replace(scorer, popularity=popularity),
                test,
                k=lengths,
                candidates=candidates,
                train=train,
                score=score,
            )
        for name in (accuracy, bias):
            found.metric(name)
        systems[key] = found
    return TradeOff(systems, accuracy, bias)
