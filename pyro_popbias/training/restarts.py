"""Restarts: independent trainings of one study, on one split of the data, that differ in starts, batches and draws."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pyro_popbias.guides import JointGuide
from pyro_popbias.models import PopularityModel
from pyro_popbias.validation import require_integer


@dataclass(frozen=True, eq=False)
class Chain:
    """The trained pair of one restart.

    Attributes:
        model: the model.
        guide: the guide.
    """

    model: PopularityModel
    guide: JointGuide


def restart_seeds(seed: int, restarts: int) -> list[int]:
    """Return the seed of each restart, the first of which is the study's own.

    Raises:
        ConfigError: `restarts` is not an integer >= 1.
    """
    restarts = require_integer("restarts", restarts, 1, code="PB-C017")
    later = [int(np.random.SeedSequence((seed, number)).generate_state(1)[0]) for number in range(1, restarts)]
    return [seed, *later]


def best_of(histories: Sequence[pd.DataFrame]) -> int:
    """Return which training ended best: by the held-out log-score, or by the objective where no rows are held out."""
    last = pd.DataFrame([history.iloc[-1] for history in histories])
    objective = last["elbo"] if "log_joint" not in last else last["log_joint"]
    score = last["validation_log_score"].fillna(objective)
    return int(np.argmax(score.to_numpy()))
