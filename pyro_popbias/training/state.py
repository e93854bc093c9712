"""The state of a training after a whole epoch, and what a training returns."""

import math
from dataclasses import dataclass, field

import pandas as pd
from torch import Tensor

from pyro_popbias.training.iterates import Iterates

HISTORY = (
    "phase",
    "epoch",
    "elbo",
    "expected_log_likelihood",
    "kl",
    "validation_log_score",
    "learning_rate",
    "seconds",
)
DONE = 3  # the phase of a finished training


@dataclass
class TrainingState:
    """The progress of a training after a whole epoch; with the tensors of a snapshot, all that resuming needs."""

    phase: int = 1  # DONE when it is finished
    epoch: int = 0  # epochs done in this phase
    steps: int = 0  # optimizer steps done in this phase
    best: float = -math.inf  # of phase one's best epoch: the held-out log-score, or the metric that judges in its place
    best_epoch: int = 0
    scalars: list[float] = field(default_factory=list)  # of the model, at the end of phase two's last cycle
    settled: list[float] = field(default_factory=list)  # KL and log prior of what phase two holds fixed, in nats
    history: list[dict[str, float]] = field(default_factory=list)

    def table(self, objective: str) -> pd.DataFrame:
        """Return the history, one row per epoch.

        Args:
            objective: what the guide maximises: "elbo", or the column that takes its place.
        """
        own = [name for name in (self.history[0] if self.history else {}) if name not in HISTORY]
        history = pd.DataFrame(self.history, columns=[*HISTORY, *own]).astype({"phase": int, "epoch": int})
        if objective == "elbo":
            return history
        # where q is not a distribution there is neither an ELBO nor a KL
        history.insert(HISTORY.index("elbo"), objective, history["elbo"])
        return history.assign(elbo=math.nan, kl=math.nan)


Snapshot = tuple[TrainingState, dict[str, Tensor]]


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What a training leaves behind beside the parameters of its pair.

    Attributes:
        history: one row per epoch, in nats and seconds.
        iterates: moments of the path that q of popularity took in phase two.
    """

    history: pd.DataFrame
    iterates: Iterates
